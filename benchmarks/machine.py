"""The machine, the date and the versions that stand beside every number."""

from dataclasses import dataclass, fields

from shrota_client.pages.host import describe_host, processor

__all__ = ["Machine", "processor"]
LIBRARIES = ("torch", "onnxruntime", "tritonclient", "nvidia-pytriton", "numpy")


@dataclass(frozen=True)
class Machine:
    """Where and when a number was measured."""

    processor: str
    cores: int
    memory_gib: float
    date: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """This machine, now."""
        host = describe_host(LIBRARIES)
        return cls(**{field.name: host[field.name] for field in fields(cls)})

    def line(self) -> str:
        """One line of Markdown."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB; {self.date}; {versions}; "
            "Triton embedded (nvidia-pytriton's tritonserver)"
        )
