"""Where the console reads from. Each source is polled by itself, so that a slow or dead one holds up nothing else."""
