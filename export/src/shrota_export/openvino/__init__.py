"""What the engine ``acoustic_openvino`` runs: OpenVINO's form of the graph, with weights in 8 bits."""
