import { createServer } from "node:net";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { openAudit } from "../../proxy/app/compose-audit.ts";
import { kafkaSink } from "../../proxy/audit/sink-kafka.ts";
import { SinkBuffer } from "../../proxy/audit/sinks.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { readSettings } from "../../proxy/settings/settings.ts";
import { type KafkaCluster, startKafka } from "../harness/kafka.ts";
import { login, makeFolder, openLog, reading, SILENT } from "./support.ts";

const TOPIC = "sluice-audit";

const found = await startKafka(TOPIC).catch((error: Error) => {
  console.log(`Not tried: kafka: ${error.message.split("\n")[0]}`);
  return undefined;
});
afterAll(() => found?.stop());

async function linesOfLog(): Promise<readonly string[]> {
  const lines: string[] = [];
  const { log } = await openLog(await makeFolder(), { onDurable: (some) => lines.push(...some) });
  log.write(login("s1", { application: '","metadata":{"log_name":"forged","x":"' }));
  log.write(reading({ statement: `SELECT '${"é".repeat(5_000)}'` }));
  log.write(reading({ decision: "refuse", sqlstate: "42501" }));
  await log.close();
  return lines;
}

function buffered(broker: string, patience = 5_000) {
  const told = { dropped: 0, refused: 0 };
  const sink = kafkaSink({
    ...{ brokers: [broker], topic: TOPIC, tls: false, patience },
    onRefused: (lines) => {
      told.refused += lines;
    },
  });
  const buffer = new SinkBuffer(sink, {
    ...{ log: SILENT, retryAfter: 20 },
    onDropped: (_, lines) => {
      told.dropped += lines;
    },
  });
  onTestFinished(() => buffer.close());
  return Object.assign(told, { sink, buffer });
}

describe.skipIf(found === undefined)("Kafka, with librdkafka's brokers and consumer:", () => {
  const cluster = found as KafkaCluster;

  test("each line is one message, whole, in order, its key the writer and no name that a client made up", async () => {
    const lines = await linesOfLog();
    const { buffer } = buffered(cluster.broker);
    buffer.offer(lines);
    const values = lines.map((line) => line.trimEnd());
    await expect
      .poll(() => cluster.consumed().map(({ value }) => value), { timeout: 20_000 })
      .toEqual(values);
    const got = cluster.consumed();
    const writer = (JSON.parse(values[0] ?? "") as { metadata: { log_name: string } }).metadata.log_name;
    expect(new Set(got.map(({ key }) => key))).toEqual(new Set([writer]));
    expect(new Set(got.map(({ partition }) => partition)).size).toBe(1);
    expect(got.map(({ headers }) => headers)).toEqual([
      "kind=segment opened,severity=1",
      "kind=login,severity=1",
      "kind=statement,severity=1",
      "kind=statement,severity=3",
      "kind=segment closed,severity=1",
    ]);
    expect(Number(got[1]?.time)).toBe(Date.UTC(2026, 4, 6, 12));
  });

  test("brokers that do not answer get what waited once they do; nothing is missing, in its order", async () => {
    const before = cluster.consumed().length;
    const lines = Array.from({ length: 20 }, (_, i) => `{"time":${i},"metadata":{"log_name":"w"}}\n`);
    const { buffer } = buffered(cluster.broker, 300);
    buffer.offer(lines.slice(0, 5));
    await expect.poll(() => cluster.consumed().length, { timeout: 20_000 }).toBe(before + 5);
    cluster.pause();
    buffer.offer(lines.slice(5));
    await expect(buffered(cluster.broker, 300).sink.write(["{}\n"])).rejects.toThrow();
    cluster.goOn();
    const distinct = () => [
      ...new Set(
        cluster
          .consumed()
          .slice(before)
          .map(({ value }) => value),
      ),
    ];
    await expect
      .poll(distinct, { timeout: 20_000 })
      .toEqual(expect.arrayContaining(lines.map((line) => line.trimEnd())));
    expect(distinct().filter((value) => value.includes("time"))).toEqual(lines.map((line) => line.trimEnd()));
  });

  test("more than a broker takes at once goes in parts", async () => {
    const before = cluster.consumed().length;
    const long = "x".repeat(130_000);
    const lines = Array.from(
      { length: 30 },
      (_, i) => `{"time":${i},"long":"${long}","metadata":{"log_name":"v"}}\n`,
    );
    const { buffer } = buffered(cluster.broker);
    buffer.offer(lines);
    await expect.poll(() => cluster.consumed().length, { timeout: 20_000 }).toBe(before + 30);
    const times = cluster
      .consumed()
      .slice(before)
      .map(({ value }) => Number(/\d+/.exec(value)?.[0]));
    expect(times).toEqual(lines.map((_, i) => i));
  });

  test("serve sends its log there, as the settings say", async () => {
    const before = cluster.consumed().length;
    const read = readSettings(
      [
        ...[
          "--config",
          "/dev/null",
          "--upstream",
          "postgresql://u@localhost/d",
          "--audit",
          await makeFolder(),
        ],
        ...["--audit-sink", "kafka", "--kafka", `kafka://${cluster.broker}/${TOPIC}`],
      ],
      {},
    );
    if (!read.ok) throw new Error(read.problems.join());
    const metrics = createMetrics({ version: "test", databases: [] });
    const audit = await openAudit(read.settings, Buffer.alloc(32, 3), { metrics, log: SILENT });
    audit.write(login("s-kafka"));
    await audit.flush();
    await expect
      .poll(
        () =>
          cluster
            .consumed()
            .slice(before)
            .some(({ value }) => value.includes("s-kafka")),
        { timeout: 20_000 },
      )
      .toBe(true);
    await audit.close();
  });
});

test("a broker that takes connections and says nothing is left after a while, and what waits has its bound", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void silent.close());
  const address = silent.address();
  const port = typeof address === "object" ? address?.port : 0;
  const { sink } = buffered(`127.0.0.1:${port}`, 100);
  await expect(sink.write(["{}\n"])).rejects.toThrow();
});

test("brokers and topic are checked at the start", () => {
  const read = (...flags: string[]) => {
    const result = readSettings(
      ["--config", "/dev/null", "--upstream", "postgresql://u@localhost/d", ...flags],
      {},
    );
    return result.ok ? result.settings.kafka : result.problems.join();
  };
  expect(read("--audit-sink", "kafka", "--kafka", "kafka+tls://a:9093,b:9093/t")).toEqual({
    ...{ brokers: ["a:9093", "b:9093"], topic: "t", tls: true },
  });
  expect(read("--audit-sink", "kafka")).toMatch(/--audit-sink kafka and --kafka: give both or none/);
  for (const wrong of [
    "kafka://a/t",
    "kafka://a:9092",
    "kafka://a:9092/",
    "http://a:9092/t",
    "kafka://a:9092/t t",
  ])
    expect(read("--kafka", wrong), wrong).toMatch(/brokers and a topic/);
  const ca = ["--kafka-ca", "/dev/null"];
  expect(read("--audit-sink", "kafka", "--kafka", "kafka://a:9092/t", ...ca)).toMatch(/--kafka-ca: needs/);
});
