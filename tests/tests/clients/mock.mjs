// Every kind of answer, as openai-node reads it.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ baseURL: process.argv.at(-1), apiKey: "sk-client", maxRetries: 0 });
const messages = [{ role: "user", content: "Who are you?" }];
const TEXT = "powered by openai";
let scenes = 0;

async function scene(play) {
  await play();
  scenes += 1;
}

async function all(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

await scene(async () => {
  const items = await all(client.chat.completions.create({ model: "gpt-4o", messages, stream: true, stream_options: { include_usage: true } }));
  assert.equal(items.map((item) => item.choices[0]?.delta.content ?? "").join(""), TEXT);
  assert.equal(items.at(-1).usage.completion_tokens, 3);
  assert.equal(new Set(items.map((item) => item.id)).size, 1);
});

await scene(async () => {
  const runner = client.chat.completions.stream({ model: "gpt-4o", messages, n: 2 });
  const final = await runner.finalChatCompletion();
  assert.deepEqual(final.choices.map((choice) => choice.message.content), [TEXT, TEXT]);
});

await scene(async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: {} } }];
  const options = { headers: { "X-Mock-Tool-Calls": "2" } };
  const runner = client.chat.completions.stream({ model: "gpt-4o", messages, tools }, options);
  const { message, finish_reason } = (await runner.finalChatCompletion()).choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments).location), ["Paris, France", "Paris, France"]);
});

await scene(async () => {
  const answer = await client.chat.completions.create({ model: "gpt-4o", messages });
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.match(answer._request_id, /^req_[0-9a-f]{32}$/);
});

await scene(async () => {
  const response = await client.responses.create({ model: "gpt-4o", input: "x" });
  assert.equal(response.output_text, TEXT);
  const final = await client.responses.stream({ model: "gpt-4o", input: "x" }).finalResponse();
  assert.equal(final.output_text, TEXT);
});

await scene(async () => {
  const { data } = await client.embeddings.create({ model: "m", input: ["a", "b"], dimensions: 8 });
  assert.deepEqual(data.map((item) => item.embedding.length), [8, 8]);
  const models = await all(client.models.list());
  assert.ok(models.some((model) => model.id === "gpt-4o"));
  const completion = await client.completions.create({ model: "m", prompt: "x" });
  assert.equal(completion.choices[0].text, TEXT);
});

await scene(async () => {
  const file = await toFile(Buffer.from("RIFF"), "a.wav");
  const heard = await client.audio.transcriptions.create({ model: "whisper-1", file });
  assert.equal(heard.text, TEXT);
  const images = await client.images.generate({ model: "gpt-image-1", prompt: "a cat" });
  assert.ok(images.data[0].b64_json);
});

await scene(async () => {
  for (const [name, kind] of [["invalid_api_key", OpenAI.AuthenticationError], ["insufficient_quota", OpenAI.RateLimitError], ["overloaded", OpenAI.InternalServerError]]) {
    const asked = client.chat.completions.create({ model: "m", messages }, { headers: { "X-Mock-Error": name } });
    await assert.rejects(asked, (error) => error instanceof kind && /^req_/.test(error.requestID));
  }
  const broken = all(client.chat.completions.create({ model: "m", messages, stream: true }, { headers: { "X-Mock-Error-After": "2" } }));
  await assert.rejects(broken, OpenAI.APIError);
  const retried = await client.chat.completions.create({ model: "m", messages }, { maxRetries: 2, headers: { "X-Mock-Status": "500", "X-Mock-Retry-After": "1ms", "X-Mock-Times": "2", "X-Mock-Scope": "node-retries" } });
  assert.equal(retried.choices[0].message.content, TEXT);
});

console.log(scenes, "scenes");
