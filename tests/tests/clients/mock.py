"""Every kind of answer, validated against the models of openai-python, which are made from OpenAI's schema."""

import json
import sys
import urllib.request

import openai
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel

base_url = sys.argv[1]
client = openai.OpenAI(base_url=base_url, api_key="sk-client", max_retries=0, timeout=60)
messages = [{"role": "user", "content": "Who are you?"}]
weather = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
TEXT = "powered by openai"
scenes = 0


def scene(function):
    global scenes
    function()
    scenes += 1


def known(value, path="answer"):
    """No field that the schema has not, none missing or of another type."""
    if isinstance(value, BaseModel):
        assert not value.model_extra, f"{path} has {value.model_extra}"
        for name in value.model_fields_set:
            known(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            known(item, path)
    return value


def strict(model, answer):
    return known(model.model_validate(answer.to_dict(), strict=True))


def chunks(**options):
    stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True, **options)
    # The client knows the obfuscation of chunks, its models do not.
    items = []
    for item in stream:
        data = item.to_dict()
        data.pop("obfuscation", None)
        items.append(known(ChatCompletionChunk.model_validate(data, strict=True)))
    assert len({(c.id, c.created, c.model, c.system_fingerprint, c.service_tier) for c in items}) == 1
    return items


def text_of(items, index=0):
    choices = [choice for item in items for choice in item.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


@scene
def stream():
    items = chunks()
    assert items[0].choices[0].delta.role == "assistant"
    assert items[-1].choices[0].finish_reason == "stop"
    assert text_of(items) == TEXT


@scene
def usage():
    items = chunks(stream_options={"include_usage": True, "include_obfuscation": True})
    assert all(item.usage is None for item in items[:-1])
    assert items[-1].choices == [] and items[-1].usage.completion_tokens == 3


@scene
def choices():
    items = chunks(n=3)
    assert [text_of(items, index) for index in range(3)] == [TEXT] * 3


@scene
def tool_calls():
    items = chunks(tools=[weather], extra_headers={"X-Mock-Tool-Calls": "2"})
    calls = {}
    for item in items:
        for call in item.choices[0].delta.tool_calls or []:
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + (call.function.name or ""), arguments + call.function.arguments)
    assert calls == {index: ("get_weather", '{"location":"Paris, France"}') for index in (0, 1)}
    assert items[-1].choices[0].finish_reason == "tool_calls"


@scene
def stream_helper():
    with client.chat.completions.stream(model="gpt-4o", messages=messages) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        assert said == stream.get_final_completion().choices[0].message.content == TEXT


@scene
def whole():
    for headers, reason in (({}, "stop"), ({"X-Mock-Finish-Reason": "content_filter"}, "content_filter")):
        answer = client.chat.completions.create(model="gpt-4o", messages=messages, extra_headers=headers)
        answer = strict(ChatCompletion, answer)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, reason)


@scene
def whole_tool_calls():
    headers = {"X-Mock-Strict": "true"}
    answer = client.chat.completions.create(
        model="gpt-4o", messages=messages, tools=[weather], tool_choice="required", extra_headers=headers
    )
    assert strict(ChatCompletion, answer).choices[0].message.tool_calls[0].function.name == "get_weather"


@scene
def length():
    headers = {"X-Mock-Strict": "true"}
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=1, extra_headers=headers)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 1)


@scene
def completions():
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x")
    assert strict(Completion, answer).choices[0].text == TEXT
    items = client.completions.create(
        model="m", prompt="x", stream=True, n=2, stream_options={"include_usage": True}
    )
    items = [item for item in items]
    assert "".join(choice.text for item in items for choice in item.choices if choice.index == 1) == TEXT
    assert items[-1].usage.completion_tokens == 6


@scene
def responses():
    answer = strict(Response, client.responses.create(model="gpt-4o", input="x"))
    assert (answer.output_text, answer.usage.output_tokens) == (TEXT, 3)


@scene
def responses_stream():
    with client.responses.stream(model="gpt-4o", input="x") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert said == stream.get_final_response().output_text == TEXT


@scene
def responses_tool_calls():
    stream = client.responses.create(model="m", input="x", stream=True, extra_headers={"X-Mock-Tool-Calls": "1"})
    events = list(stream)
    said = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert said == events[-1].response.output[0].arguments == '{"location":"Paris, France"}'


@scene
def embeddings():
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    strict(CreateEmbeddingResponse, answer)
    plain = client.embeddings.create(model="m", input=["a"], dimensions=8, encoding_format="float")
    pairs = zip(answer.data[0].embedding, plain.data[0].embedding, strict=True)
    assert all(abs(one - other) < 1e-6 for one, other in pairs)


@scene
def models():
    names = [known(Model.model_validate(model.to_dict(), strict=True)).id for model in client.models.list()]
    assert "gpt-4o" in names and client.models.retrieve("gpt-4o").id == "gpt-4o"


@scene
def audio_and_images():
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    assert heard.text == TEXT
    verbose = client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", b"RIFF"), response_format="verbose_json"
    )
    assert verbose.segments[0].text == TEXT
    images = strict(ImagesResponse, client.images.generate(model="gpt-image-1", prompt="a cat", n=2))
    assert len(images.data) == 2


@scene
def errors():
    for name, error, status in (
        ("invalid_api_key", openai.AuthenticationError, 401),
        ("unsupported_country_region_territory", openai.PermissionDeniedError, 403),
        ("model_not_found", openai.NotFoundError, 404),
        ("rate_limit_exceeded", openai.RateLimitError, 429),
        ("insufficient_quota", openai.RateLimitError, 429),
        ("server_error", openai.InternalServerError, 500),
        ("overloaded", openai.InternalServerError, 503),
    ):
        try:
            client.chat.completions.create(model="m", messages=messages, extra_headers={"X-Mock-Error": name})
            raise AssertionError(name)
        except error as raised:
            assert raised.status_code == status and raised.request_id.startswith("req_"), name
            assert set(raised.body) == {"message", "type", "param", "code"}, raised.body
    try:
        chunks(extra_headers={"X-Mock-Error-After": "2"})
        raise AssertionError("in-band error")
    except openai.APIError as raised:
        assert raised.type == "server_error", raised


@scene
def retries():
    headers = {"X-Mock-Error": "server_error", "X-Mock-Retry-After": "1ms", "X-Mock-Times": "2"}
    patient = client.with_options(max_retries=2)
    answer = patient.chat.completions.create(
        model="m", messages=messages, extra_headers=headers | {"X-Mock-Scope": "python-retries"}
    )
    assert answer.choices[0].message.content == TEXT
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(base_url.replace("/v1", "/__mock/requests")) as answer:
        entries = json.load(answer)["requests"]
    assert [entry["status"] for entry in entries[-3:]] == [500, 500, 200]


print(scenes, "scenes")
