"""The parts of `bench.moe_balance`: one file measures and prints one claim."""
