from assay.tom_verifier.v1 import epistemic_pb2 as _epistemic_pb2
from assay.tom_verifier.v1 import sampling_pb2 as _sampling_pb2
from assay.tom_verifier.v1 import sensitivity_pb2 as _sensitivity_pb2
from assay.tom_verifier.v1 import stories_pb2 as _stories_pb2
from assay.tom_verifier.v1 import traces_pb2 as _traces_pb2
from assay.tom_verifier.v1 import verifier_pb2 as _verifier_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
