# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""One call to the cloud, as any client of AWS would make it: for the self test.

aws.py SERVICE OPERATION [JSON] [PATH]   prints the answer, or of it what the JMESPath expression picks, line by line
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
import jmespath
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> None:
    """A refusal ends with 1, its code and message on standard error."""
    service, operation, *rest = sys.argv[1:]
    arguments: dict[str, Any] = json.loads(rest[0]) if rest else {}
    client = boto3.client(service, config=Config(retries={"total_max_attempts": 1}))
    try:
        answer = getattr(client, operation)(**arguments)
    except ClientError as error:
        sys.exit(str(error))
    answer.pop("ResponseMetadata")
    if len(rest) < 2:
        print(json.dumps(answer, default=str, indent=2))
        return
    picked = jmespath.search(rest[1], answer)
    for line in picked if isinstance(picked, list) else [picked]:
        print(line if isinstance(line, str) else json.dumps(line, default=str))


if __name__ == "__main__":
    main()
