"""The sharded run: very many images in tars, Parquet or an object store → Parquet parts, here or on a Ray cluster.

    inputs ─> plan (shards) ─> work (without what is there) ─> local_run or ray_run ─> worker ─> part-ID.parquet

A shard is the unit of work, of output, of retry and of resume; `worker.Worker` makes a part of it with the
library's ordinary pipeline, wherever it runs. The output's notes: `_siglip.json` (what the run is), `_listing/` (loose
files, cut into shards), `_failed/` (shards without a whole part), `_attempts/` (shards in work), `_summary.json`.
"""
