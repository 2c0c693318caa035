"""The probe's steps."""

from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue

from assay.engine.step import Step

DIGEST_SHARD = Step("digest_shard", StringValue, StringValue)  # "shard:seconds" -> hex
SPIN = Step("spin", StringValue, StringValue)  # counts in the file it is told until it is stopped
CRUNCH = Step("crunch", StringValue, StringValue)  # two worker processes that only a kill ends; a folder names them
FAIL = Step("fail", StringValue, StringValue)  # raises what it is told
ECHO = Step("echo", StringValue, StringValue)
COUNT_UP = Step("count_up", Int64Value, DoubleValue, streaming=True)
WHERE = Step("where", StringValue, StringValue)  # pid of the process the step ran in
BLOB = Step("blob", Int64Value, StringValue)  # as many characters
BLOBS = Step("blobs", StringValue, StringValue, streaming=True)  # "file|n": n of 256 KiB; a byte in the file for each
SILENT = Step("silent", DoubleValue, StringValue)  # that many seconds without a word
READ_OBJECT = Step("read_object", StringValue, StringValue)  # from the engine's own store
MODEL = Step("model", StringValue, StringValue)  # "pid hit" or "pid miss", keeping four models loaded
COMPUTE_CASE = Step("compute_case", StringValue, StringValue)  # "case|folder" -> traceback, "" where it passed
