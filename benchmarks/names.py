"""Names as hotwords: a list made by hand of what the held-out sets say, and of what they could have said."""

from collections.abc import Iterable

NEWS = (
    "अरुण", "अरुणाचल", "असम", "आलो", "ईटानगर", "कोरबा", "केवडिया", "खूटी", "गढ़वा", "गिरिडीह", "गुजरात", "गुमला",
    "चतरा", "जमशेदपुर", "जयशंकर", "जेटली", "झारखंड", "ट्रम्प", "तिनाली", "निशंक", "नरेन्द्र", "पहान", "पीरटांड",
    "बुद्ध", "मद्रास", "मोदी", "यिंगकियोंग", "राजीव", "रांची", "लाका", "लिबांग", "विवेकानंद", "सिंजो", "हजारीबाग",
    "हीरामन",
)  # fmt: skip
"""Persons and places of the news from Ranchi and Itanagar."""
NOVELS = (
    "अमेरिका", "गांधीजी", "जाह्नवी", "पद्म", "भोली", "मीरा", "शांता", "सदन", "सारा", "सुभद्रा", "सुमन",
    "स्विट्जरलैंड",
)  # fmt: skip
"""Persons and places of the voices' phrases."""
OTHERS = (
    "अनुपमा", "आइज़ोल", "इंफाल", "उधमपुर", "कोडरमा", "खांडू", "गोड्डा", "घाटशिला", "चाईबासा", "जामताड़ा", "रोइंग",
    "डाल्टनगंज", "तवांग", "तेजू", "दिबांग", "दुमका", "देवघर", "धनबाद", "नाहरलागुन", "पलामू", "पाकुड़", "पासीघाट",
    "बोकारो", "बोमडिला", "मुंडा", "राजरप्पा", "रघुवर", "रिजिजू", "लातेहार", "लोहरदगा", "शिबू", "साहिबगंज",
    "सरायकेला", "सिमडेगा", "सोरेन",
)  # fmt: skip
"""Names that the same news could have said."""

NAMES = sorted({*NEWS, *NOVELS, *OTHERS})


def split_names(references: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that normalised references say, and those that they do not."""
    words = {word for reference in references for word in reference.split()}
    return [name for name in NAMES if name in words], [name for name in NAMES if name not in words]
