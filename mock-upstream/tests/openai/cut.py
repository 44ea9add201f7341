"""Cuts out of OpenAI's OpenAPI document what answers of the mock are held against.

    python3 cut.py <openapi.json >schemas.json

The document is openapi.json of https://github.com/openai/openai-openapi (MIT, see LICENSE);
schemas.json is of its commit f85dbe223d40e1a31cba812ab2d755c7e98a92a3.
"""

import json
import sys

WANTED = """
CreateChatCompletionResponse CreateChatCompletionStreamResponse CreateCompletionResponse
CreateEmbeddingResponse CreateTranscriptionResponseJson CreateTranscriptionResponseVerboseJson
ErrorResponse ImagesResponse ListModelsResponse Model Response ResponseStreamEvent
""".split()
# What says nothing of which answers are right, or, as recursion did, says it as no longer is done.
PROSE = {"default", "deprecated", "description", "discriminator", "example", "examples", "title"}
PROSE |= {"$recursiveAnchor", "$recursiveRef"}


def cut(schema, names=False):
    if isinstance(schema, list):
        return [cut(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: cut(part, name == "properties")
        for name, part in schema.items()
        if names or not (name in PROSE or name.startswith("x-"))
    }
    # Of an older OpenAPI.
    if not names and kept.pop("nullable", False) is True:
        return {"anyOf": [kept, {"type": "null"}]}
    return kept


def references(schema):
    if isinstance(schema, list):
        for part in schema:
            yield from references(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for part in schema.values():
            yield from references(part)


schemas, cut_out, wanted = json.load(sys.stdin)["components"]["schemas"], {}, WANTED
while wanted:
    name = wanted.pop()
    if name not in cut_out:
        cut_out[name] = cut(schemas[name])
        wanted.extend(references(cut_out[name]))
lines = (f"{json.dumps(name)}:{json.dumps(cut_out[name], separators=(',', ':'))}" for name in sorted(cut_out))
print('{"components":{"schemas":{\n' + ",\n".join(lines) + "\n}}}")
