"""What computes the network of a served bundle: torch, or OpenVINO. ENGINES lists them, choice.choose measures."""
