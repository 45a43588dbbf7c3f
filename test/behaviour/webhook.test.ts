import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Alert } from "../../proxy/behaviour/alert.ts";
import { signatureOf, Webhook } from "../../proxy/behaviour/webhook.ts";
import { createLog } from "../../proxy/log.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { turns } from "../harness/turns.ts";

const KEY = Buffer.alloc(32, 3);

function alert(id: string): Alert {
  return {
    id,
    ...{ time: 1, rule: "new_people", action: "alert", user: "anna", role: "agent", database: "support" },
    ...{ client: "10.2.0.1", figure: 200, ordinary: 80, text: "200 people", severity: "medium" },
    next: { what: "See whom they have read.", command: "sluice audit read-by anna --since 1970-01-01" },
  };
}

/** A receiver that gives these answers in turn, and then 200. */
async function receiver(...answers: readonly (number | "silence")[]) {
  const bodies: string[] = [];
  const signatures: string[] = [];
  let turn = 0;
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    signatures.push(String(request.headers["x-sluice-signature"]));
    const answer = answers[turn] ?? 200;
    turn += 1;
    if (answer !== "silence") response.writeHead(answer, { location: "http://127.0.0.1:1/" }).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/?token=hunter2`,
    bodies,
    signatures,
  };
}

/** A machine at work may take its time over the first request; only who waits for silence is in a hurry. */
function webhook(url: string, lines: string[] = [], timeoutMs = 5_000, retryAfter = [1, 1]): Webhook {
  const log = createLog({ level: "trace", to: { write: (line) => lines.push(line) } });
  const hook = new Webhook({
    url,
    key: KEY,
    log,
    retryAfter,
    timeoutMs,
    now: () => 1_700_000_000_500,
  });
  onTestFinished(() => hook.close());
  return hook;
}

test("an alert arrives as JSON, signed over its time and body", async () => {
  const { url, bodies, signatures } = await receiver();
  webhook(url).send(alert("one"));
  await vi.waitUntil(() => bodies.length === 1);
  expect(JSON.parse(bodies[0] ?? "")).toEqual({ kind: "alert", ...alert("one") });
  expect(signatures[0]).toBe(signatureOf(bodies[0] ?? "", KEY, 1_700_000_000_000));
  expect(signatures[0]).not.toBe(signatureOf(bodies[0] ?? "", Buffer.alloc(32), 1_700_000_000_000));
  expect(signatures[0]).toMatch(/^t=1700000000,v1=[0-9a-f]{64}$/);
});

test.each([[503], [302], ["silence" as const]])(
  "after %s it is sent again, and those behind it keep their order",
  async (answer) => {
    const { url, bodies } = await receiver(answer);
    const hook = webhook(url, [], answer === "silence" ? 1_000 : 5_000);
    for (const id of ["one", "two"]) hook.send(alert(id));
    await vi.waitUntil(() => bodies.length === 3);
    expect(bodies.map((body) => (JSON.parse(body) as Alert).id)).toEqual(["one", "one", "two"]);
  },
);

test.each([[403], [422]])(
  "one that the receiver minds (%s) holds up nobody behind it, and is tried again",
  async (answer) => {
    const { url, bodies } = await receiver(answer, 200, 200, answer);
    const hook = webhook(url, [], 5_000, [200, 1]);
    for (const id of ["minded", "two", "three"]) hook.send(alert(id));
    await vi.waitUntil(() => bodies.length === 5);
    const ids = bodies.map((body) => (JSON.parse(body) as Alert).id);
    expect(ids).toEqual(["minded", "two", "three", "minded", "minded"]);
  },
);

test("of more than a thousand that nobody takes the oldest go first, and the log says so", async () => {
  const { url, bodies } = await receiver("silence");
  const lines: string[] = [];
  const hook = webhook(url, lines, 1_000);
  hook.send(alert("first"));
  await vi.waitUntil(() => bodies.length === 1);
  for (let i = 0; i < 1_000; i++) hook.send(alert(`${i}`));
  expect(lines.filter((line) => line.includes("dropped"))).toHaveLength(1);
  await vi.waitUntil(() => bodies.length > 5);
  expect(bodies.slice(0, 4).map((body) => (JSON.parse(body) as Alert).id)).toEqual(["first", "0", "1", "2"]);
});

test("what is told just before the end of the process still arrives", async () => {
  const { url, bodies } = await receiver();
  const hook = webhook(url);
  for (const id of ["one", "two", "three"]) hook.send(alert(id));
  await hook.close();
  expect(bodies).toHaveLength(3);
});

test("a receiver that is away is given up after the last attempt, and the log does not show its address", async () => {
  const lines: string[] = [];
  const hook = webhook("http://127.0.0.1:1/?token=hunter2", lines);
  hook.send(alert("one"));
  await vi.waitUntil(() => lines.some((line) => line.includes("given up")));
  expect(lines.join()).not.toContain("hunter2");
});

test("what came of each alert is counted, and what is left at the end is told", async () => {
  const { url } = await receiver(503, 200, 403, 403, 403);
  const outcomes: string[] = [];
  const lines: string[] = [];
  const log = createLog({ level: "trace", to: { write: (line) => lines.push(line) } });
  const options = { key: KEY, log, onDelivery: (outcome: string) => outcomes.push(outcome) };
  const hook = new Webhook({ url, ...options, retryAfter: [1, 1] });
  onTestFinished(() => hook.close());
  hook.send(alert("one"));
  await vi.waitUntil(() => outcomes.length === 2);
  hook.send(alert("two"));
  await vi.waitUntil(() => outcomes.includes("lost"));
  expect(outcomes).toEqual(["failed", "taken", "failed", "failed", "failed", "lost"]);
  const away = new Webhook({ url: "http://127.0.0.1:1/", ...options, retryAfter: [60_000] });
  for (const id of ["three", "four"]) away.send(alert(id));
  await vi.waitUntil(() => outcomes.length === 7);
  await away.close();
  expect(lines.at(-1)).toContain("did not arrive before the end");
  expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ level: "error", alerts: 2 });
});

test("a receiver whose certificate nobody knows gets nothing, and the log says that it is the certificate", async () => {
  const { proxy, remove } = await makeCertificates();
  onTestFinished(remove);
  const [key, cert] = [readFileSync(proxy.key), readFileSync(proxy.certificate)];
  const bodies: string[] = [];
  const server = createTlsServer({ key, cert }, (request, response) => {
    request.on("data", (chunk) => bodies.push(String(chunk)));
    response.end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const lines: string[] = [];
  webhook(`https://127.0.0.1:${(server.address() as AddressInfo).port}/?token=hunter2`, lines).send(
    alert("one"),
  );
  await vi.waitUntil(() => lines.some((line) => line.includes("given up")));
  expect(lines.join()).toMatch(/DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY|SELF_SIGNED/);
  expect(bodies).toEqual([]);
});

test("closing waits for nobody", async () => {
  const { url, bodies } = await receiver("silence");
  const hook = new Webhook({ url, key: KEY, log: createLog({ level: "silent" }), timeoutMs: 60_000 });
  hook.send(alert("one"));
  await vi.waitUntil(() => bodies.length === 1);
  const since = turns();
  await hook.close();
  expect(since.elapsed()).toBeLessThan(1_000);
});
