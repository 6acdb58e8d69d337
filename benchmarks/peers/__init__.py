"""anomalib's PatchCore and PaDiM, in an environment of their own, beside our whole line."""
