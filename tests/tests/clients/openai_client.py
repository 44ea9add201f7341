"""What a user of openai-python does: nothing but base_url and api_key."""

import sys

import openai

base_url, api_key, scene = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=60)
messages = [{"role": "user", "content": "Who are you?"}]


def stream():
    chunks = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
    print("".join(chunk.choices[0].delta.content or "" for chunk in chunks))


def stream_with_usage():
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [], chunks[-1]
    print(chunks[-1].usage.completion_tokens)


def complete():
    answer = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.model == "gpt-4o", answer
    print(answer.choices[0].message.content)


def request_id():
    """The answer's id, and that of an error: both are read from X-Request-ID."""
    print(client.chat.completions.create(model="gpt-4o", messages=messages)._request_id)
    try:
        client.with_options(api_key="wrong").models.list()
    except openai.APIStatusError as error:
        print(error.request_id)


def models():
    print(",".join(sorted(model.object for model in client.models.list())))


def fail():
    """Prints the class and the code of the error that is raised."""
    try:
        complete()
    except openai.APIStatusError as error:
        print(type(error).__name__, error.status_code, error.code)


scenes = [stream, stream_with_usage, complete, request_id, models, fail]
{play.__name__: play for play in scenes}[scene]()
