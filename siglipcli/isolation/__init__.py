"""Decoders kept apart: threads that read under a time limit, and processes that decode for them.

A decoder is native code: on a hostile or damaged file it may never return, or kill its process. So
`readers` gives each picture so much time, and `worker` decodes in a process of its own, which runs
`serve` and can be killed. Nothing is imported here, as `serve` must start soon.
"""
