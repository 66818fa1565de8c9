"""The parts of bench/gpu.py: each measures one thing and gives Figures."""
