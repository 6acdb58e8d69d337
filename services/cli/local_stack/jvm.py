"""Flags for the two servers that run on the JVM."""

from services.cli.local_stack.artifacts import Artifacts

# In a locale without UTF-8 Java cannot open a path with a letter beyond ASCII; Python writes paths in UTF-8 in any.
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}


def command(artifacts: Artifacts, *, heap_mb: int) -> list[str]:
    """The JVM tuned for a quick start and little memory, not for the last word in throughput."""
    return [
        str(artifacts.java),
        f"-Xmx{heap_mb}m",
        # A broker at work collects every two seconds, and everyone waits: one thread takes 20 to 30 ms, two 10 to 17.
        "-XX:+UseParallelGC",
        "-XX:ParallelGCThreads=2",
        "-XX:TieredStopAtLevel=1",  # the quick compiler alone: starts in half the time
        # Enough from the start: to grow into them, it would collect all there is, three times in the first seconds.
        "-XX:MetaspaceSize=96m",
        "-XX:ReservedCodeCacheSize=128m",
        "-Xshare:auto",  # without the archive it starts all the same, only later
        f"-XX:SharedArchiveFile={artifacts.class_data}",
        "-XX:+ExitOnOutOfMemoryError",  # an error that the stack sees, instead of a server that half works
    ]
