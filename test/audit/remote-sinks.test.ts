import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, createServer as createTcp } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { openAudit } from "../../proxy/app/compose-audit.ts";
import { otlpSink } from "../../proxy/audit/sink-otlp.ts";
import { syslogSink } from "../../proxy/audit/sink-syslog.ts";
import { type Sink, SinkBuffer } from "../../proxy/audit/sinks.ts";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { createLog } from "../../proxy/log.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { readSettings } from "../../proxy/settings/settings.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { type Rsyslog, startRsyslog } from "../harness/rsyslog.ts";
import { login, makeFolder, openLog, reading, SILENT } from "./support.ts";

const TRACE = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

/** Lines of a log, as sinks get them, among them one of a client who writes fields and line ends. */
async function linesOfLog(): Promise<readonly string[]> {
  const lines: string[] = [];
  const { log } = await openLog(await makeFolder(), { onDurable: (some) => lines.push(...some) });
  log.write(login("s1", { application: '","kind":"forged","severity_id":5,\n<13>1 x' }));
  log.write(reading({ traceparent: TRACE, statement: `SELECT '${"é".repeat(5_000)}'` }));
  log.write(reading({ decision: "refuse", sqlstate: "42501" }));
  await log.close();
  return lines;
}

function buffered(sink: Sink, maxPending?: number) {
  const told = { dropped: 0 };
  const buffer = new SinkBuffer(sink, {
    ...{ log: SILENT, retryAfter: 20, ...(maxPending !== undefined && { maxPending }) },
    onDropped: (_, lines) => {
      told.dropped += lines;
    },
  });
  onTestFinished(() => buffer.close());
  return Object.assign(told, { buffer });
}

const found = await startRsyslog().catch((error: Error) => {
  console.log(`Not tried: rsyslog: ${error.message.split("\n")[0]}`);
  return undefined;
});
afterAll(() => found?.stop());

describe.skipIf(found === undefined)("syslog over TLS, received by rsyslog:", () => {
  let rsyslog: Rsyslog;
  let ca: string;
  beforeAll(async () => {
    if (found === undefined) throw new Error("rsyslog is not there");
    rsyslog = found;
    ca = await readFile(rsyslog.ca, "utf8");
  });

  const parsed = async () =>
    (await rsyslog.messages()).map((message) => {
      const [, severity, facility, app, id, time, text = ""] =
        /^(\w+)\|(\d+)\|(\S+)\|(\S+)\|(\S+)\| ?(.*)$/.exec(message) ?? [];
      return { severity, facility, app, id, time, text };
    });

  test("each line is one message, whole, with its time, kind and severity", async () => {
    const lines = await linesOfLog();
    const { buffer } = buffered(syslogSink({ host: "localhost", port: rsyslog.port, ca }));
    buffer.offer(lines);
    await expect.poll(parsed).toHaveLength(lines.length);
    const got = await parsed();
    expect(got.map(({ text }) => text)).toEqual(lines.map((line) => line.trimEnd()));
    expect(got.map(({ id, severity }) => [id, severity])).toEqual([
      ["segment-opened", "info"],
      ["login", "info"],
      ["statement", "info"],
      ["statement", "warning"],
      ["segment-closed", "info"],
    ]);
    expect(got[1]).toMatchObject({ facility: "13", app: "sluice" });
    expect(Date.parse(got[1]?.time ?? "")).toBe(Date.UTC(2026, 4, 6, 12));
  });

  test("a receiver that is away gets what waited; nothing is missing, and what is there twice has its number", async () => {
    const before = (await rsyslog.messages()).length;
    const lines = await linesOfLog();
    const { buffer } = buffered(syslogSink({ host: "localhost", port: rsyslog.port, ca }));
    buffer.offer(lines.slice(0, 2));
    await expect.poll(parsed).toHaveLength(before + 2);
    await rsyslog.restart();
    buffer.offer(lines.slice(2));
    const got = async () => new Set((await parsed()).slice(before).map(({ text }) => text));
    await expect.poll(got).toEqual(new Set(lines.map((line) => line.trimEnd())));
  });

  test("one whose certificate nobody knows gets nothing", async () => {
    const stranger = syslogSink({ host: "localhost", port: rsyslog.port });
    await expect(stranger.write(["{}\n"])).rejects.toThrow(/certificate/);
    const elsewhere = syslogSink({ host: "127.0.0.1", port: rsyslog.port, ca });
    await expect(elsewhere.write(["{}\n"])).rejects.toThrow(/does not match/);
  });
});

test("a receiver of syslog that never answers is left after a while, and what waits has its bound", async () => {
  const silent = createTcp(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  onTestFinished(() => void silent.close());
  const { port } = silent.address() as AddressInfo;
  const sink = syslogSink({ host: "127.0.0.1", port, patience: 50 });
  await expect(sink.write(["{}\n"])).rejects.toThrow("no answer");
  const told = buffered(sink, 1_000);
  for (let i = 0; i < 100; i++) told.buffer.offer([`${"x".repeat(99)}\n`]);
  expect(told.dropped).toBe(90);
});

/** OTLP 1.5 in JSON: opentelemetry/proto/logs/v1/logs.proto with the mapping of OTLP/HTTP (64-bit numbers as texts, ids in hexadecimal). */
const attributes = z.array(
  z.strictObject({ key: z.string(), value: z.strictObject({ stringValue: z.string() }) }),
);
const exportRequest = z.strictObject({
  resourceLogs: z.array(
    z.strictObject({
      resource: z.strictObject({ attributes }),
      scopeLogs: z.array(
        z.strictObject({
          scope: z.strictObject({ name: z.string(), version: z.string() }),
          logRecords: z.array(
            z.strictObject({
              timeUnixNano: z.string().regex(/^\d{19}$/),
              observedTimeUnixNano: z.string().regex(/^\d{19}$/),
              severityNumber: z.int().min(1).max(24),
              severityText: z.string(),
              eventName: z.string().optional(),
              body: z.strictObject({ stringValue: z.string() }),
              traceId: z
                .string()
                .regex(/^[0-9a-f]{32}$/)
                .optional(),
              spanId: z
                .string()
                .regex(/^[0-9a-f]{16}$/)
                .optional(),
              flags: z.int().optional(),
            }),
          ),
        }),
      ),
    }),
  ),
});

/** A collector that gives these answers in turn, and then 200. */
async function collector(...answers: readonly (number | "partial" | "silence")[]) {
  const requests: { readonly body: string; readonly headers: NodeJS.Dict<string | string[]> }[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const answer = answers[requests.length] ?? 200;
    requests.push({ body, headers: request.headers });
    if (answer === "silence") return;
    response.writeHead(answer === "partial" ? 200 : answer, { "content-type": "application/json" });
    response.end(
      answer === "partial" ? '{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"}}' : "{}",
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const refused: [number, string][] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/logs`;
  const sink = otlpSink({
    url,
    token: "t0ken",
    onRefused: (...what) => refused.push(what),
    patience: 1_000,
  });
  const records = () =>
    requests.flatMap(({ body }) =>
      exportRequest
        .parse(JSON.parse(body))
        .resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords)),
    );
  return { sink, requests, refused, records, url };
}

describe("OTLP", () => {
  test("takes each line as a log record, with time, kind, severity and the trace of its statement", async () => {
    const lines = await linesOfLog();
    const { sink, requests, records } = await collector();
    const { buffer } = buffered(sink);
    buffer.offer(lines);
    await expect.poll(records).toHaveLength(lines.length);
    expect(records().map(({ body }) => body.stringValue)).toEqual(lines.map((line) => line.trimEnd()));
    expect(records().map(({ eventName, severityText }) => [eventName, severityText])).toEqual([
      ["sluice.segment_opened", "INFO"],
      ["sluice.login", "INFO"],
      ["sluice.statement", "INFO"],
      ["sluice.statement", "WARN"],
      ["sluice.segment_closed", "INFO"],
    ]);
    expect(records()[2]).toMatchObject({ traceId: "a".repeat(32), spanId: "b".repeat(16), flags: 1 });
    expect(records()[1]?.timeUnixNano).toBe(`${Date.UTC(2026, 4, 6, 12)}000000`);
    expect(requests[0]?.headers).toMatchObject({
      authorization: "Bearer t0ken",
      "content-type": "application/json",
    });
  });

  test.each([[503], [429], ["silence" as const]])("after %s the same lines come again", async (answer) => {
    const lines = await linesOfLog();
    const { sink, requests, refused } = await collector(answer);
    const { buffer } = buffered(sink);
    buffer.offer(lines);
    // An answer may be late on a busy machine, and the lines come once more.
    await expect.poll(() => requests.length).toBeGreaterThanOrEqual(2);
    expect(requests[1]?.body).toBe(requests[0]?.body);
    expect(refused).toEqual([]);
  });

  test("a collector that is away, silent, or shows a certificate that nobody knows is told by its reason, and gets what waited", async () => {
    const lines = await linesOfLog();
    const { proxy, remove } = await makeCertificates();
    onTestFinished(remove);
    const [key, cert] = [await readFile(proxy.key), await readFile(proxy.certificate)];
    const stranger = createHttps({ key, cert }, () => expect.fail("it was asked")).listen(0, "127.0.0.1");
    await once(stranger, "listening");
    onTestFinished(() => void stranger.close());
    const secure = `https://127.0.0.1:${(stranger.address() as AddressInfo).port}/v1/logs?token=hunter2`;
    const silent = await collector("silence");
    const problems = async (sink: Sink) => {
      const told: string[] = [];
      const log = createLog({ level: "error", to: { write: (line) => told.push(line) } });
      const buffer = new SinkBuffer(sink, { log, retryAfter: 20, onDropped: () => {} });
      onTestFinished(() => buffer.close());
      buffer.offer(lines);
      await expect.poll(() => told.length, { timeout: 10_000 }).toBe(1);
      expect(told.join()).not.toContain("hunter2");
      return (JSON.parse(told[0] ?? "") as { readonly problem: string }).problem;
    };
    const to = (url: string) => otlpSink({ url, onRefused: () => {} });
    expect(await problems(to(`http://127.0.0.1:${await freePort()}/v1/logs?token=hunter2`))).toBe(
      "ECONNREFUSED",
    );
    expect(await problems(to(secure))).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
    expect(await problems(silent.sink)).toMatch(/aborted due to timeout/);
    await expect.poll(silent.records).toHaveLength(2 * lines.length);
  });

  test.each([
    [400, "status 400"],
    ["partial" as const, "partial success"],
  ])("what the collector does not want (%s) is counted, and holds up nothing", async (answer, problem) => {
    const lines = await linesOfLog();
    const { sink, records, refused } = await collector(answer);
    const { buffer } = buffered(sink);
    buffer.offer(lines.slice(0, 2));
    await expect.poll(() => refused).toEqual([[2, problem]]);
    buffer.offer(lines.slice(2));
    await expect.poll(records).toHaveLength(lines.length);
  });
});

test.each([
  [["--audit-sink", "syslog"], "--audit-sink syslog and --syslog: give both or none"],
  [["--otlp", "https://c.internal/v1/logs"], "--audit-sink otlp and --otlp: give both or none"],
  [["--syslog", "udp://logs.internal"], "not a receiver of syslog over TLS"],
  [["--syslog-ca", "ca.pem"], "--syslog-ca: needs --syslog"],
])("%j is a mistake that is told at the start", (flags, message) => {
  const base = ["--config", "/dev/null", "--upstream", "postgresql://u@localhost/d"];
  const read = readSettings([...base, ...flags], {});
  expect(read.ok ? "" : read.problems.join("\n")).toContain(message);
});

test("serve sends its log to the sinks that its settings name", async () => {
  const folder = await makeFolder();
  const { records, url } = await collector();
  const sinks = found === undefined ? "otlp" : "otlp,syslog";
  const syslog = found && ["--syslog", `tls://localhost:${found.port}`, "--syslog-ca", found.ca];
  const base = ["--config", "/dev/null", "--upstream", "postgresql://u@localhost/d", "--audit", folder];
  const read = readSettings([...base, "--audit-sink", sinks, "--otlp", url, ...(syslog ?? [])], {});
  if (!read.ok) throw new Error(read.problems.join());
  const metrics = createMetrics({ version: "0", databases: [], topUsers: 0 });
  const audit = await openAudit(read.settings, Buffer.alloc(32, 3), { metrics, log: SILENT });
  audit.write(login("end-to-end"));
  await audit.close();
  const has = (texts: readonly string[]) => texts.some((text) => text.includes("end-to-end"));
  await expect.poll(() => has(records().map(({ body }) => body.stringValue))).toBe(true);
  if (found !== undefined) await expect.poll(async () => has(await found.messages())).toBe(true);
});
