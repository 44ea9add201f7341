// What a user of openai-node does: nothing but baseURL and apiKey.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey] = process.argv.slice(-2);
const client = new OpenAI({ baseURL, apiKey });
const messages = [{ role: "user", content: "Who are you?" }];
const TEXT = "powered by openai";

async function all(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

const scenes = [
  async () => {
    const chunks = await all(client.chat.completions.create({ model: "gpt-4o", messages, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), TEXT);
  },
  async () => {
    const asked = { model: "gpt-4o", messages, stream: true, stream_options: { include_usage: true } };
    const chunks = await all(client.chat.completions.create(asked));
    assert.equal(chunks.at(-1).usage.completion_tokens, 3);
  },
  async () => {
    const answer = await client.chat.completions.create({ model: "gpt-4o", messages });
    assert.equal(answer.choices[0].message.content, TEXT);
    assert.match(answer._request_id, /^req_[0-9a-f]{32}$/);
  },
  async () => {
    const answer = await client.responses.create({ model: "gpt-4o", input: "x" });
    assert.equal(answer.output_text, TEXT);
  },
  async () => {
    const { data } = await client.embeddings.create({ model: "gpt-4o", input: ["a", "b"], dimensions: 8 });
    assert.deepEqual(data.map((item) => item.embedding.length), [8, 8]);
    const models = await all(client.models.list());
    assert.ok(models.some((model) => model.id === "gpt-4o"));
  },
  async () => {
    const file = await toFile(Buffer.from("RIFF"), "a.wav");
    const heard = await client.audio.transcriptions.create({ model: "whisper-1", file });
    assert.equal(heard.text, TEXT);
  },
  async () => {
    const stranger = new OpenAI({ baseURL, apiKey: "token-of-nobody-here" });
    const refused = stranger.chat.completions.create({ model: "gpt-4o", messages });
    await assert.rejects(refused, (error) => {
      return error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key";
    });
  },
];

for (const scene of scenes) await scene();
console.log(scenes.length, "scenes");
