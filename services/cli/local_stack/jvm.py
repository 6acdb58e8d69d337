"""Flags for the two servers that run on the JVM."""

from services.cli.local_stack.artifacts import Artifacts

# In a locale without UTF-8 Java cannot open a path with a letter beyond ASCII; Python writes paths in UTF-8 in any.
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}


# The quick compiler alone: starts in half the time.
_QUICK = ["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=128m"]
# What a server compiles within hours it has within a minute; its code takes more room.
_FULL = ["-XX:CompileThresholdScaling=0.1", "-XX:ReservedCodeCacheSize=240m"]


def command(artifacts: Artifacts, *, heap_mb: int, full_compiler: bool = False) -> list[str]:
    """The JVM tuned for little memory, and for a quick start or, with the full compiler, for what follows it.

    With the full compiler a server takes several times the CPU time in its first minute, and half of it afterwards.
    """
    return [
        str(artifacts.java),
        f"-Xmx{heap_mb}m",
        # A broker at work collects every two seconds, and everyone waits: one thread takes 20 to 30 ms, two 10 to 17.
        "-XX:+UseParallelGC",
        "-XX:ParallelGCThreads=2",
        # Room for classes, and below for code, that is enough from the start: to grow into it, it would collect all
        # there is, three times in the first seconds.
        "-XX:MetaspaceSize=96m",
        *(_FULL if full_compiler else _QUICK),
        "-Xshare:auto",  # without the archive it starts all the same, only later
        f"-XX:SharedArchiveFile={artifacts.class_data}",
        "-XX:+ExitOnOutOfMemoryError",  # an error that the stack sees, instead of a server that half works
    ]
