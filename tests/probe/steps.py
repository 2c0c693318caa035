"""The probe's steps."""

from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue

from assay.engine.step import Step

DIGEST_SHARD = Step("digest_shard", StringValue, StringValue)  # "shard:seconds" -> hex
SPIN = Step("spin", StringValue, StringValue)  # counts in the file it is told until it is stopped
FAIL = Step("fail", StringValue, StringValue)  # raises what it is told
ECHO = Step("echo", StringValue, StringValue)
COUNT_UP = Step("count_up", Int64Value, DoubleValue, streaming=True)
WHERE = Step("where", StringValue, StringValue)  # pid of the process the step ran in
