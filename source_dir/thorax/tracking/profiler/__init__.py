"""The profiler: times of a step's stages, a trace of some steps, samples of the machine, and one page of summary."""
