import { execFile } from "node:child_process";
import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { CACHE, unpackTogether } from "./debian.ts";
import { endTied, spawnTied } from "./tied.ts";

/** What a consumer got. */
export interface Consumed {
  readonly partition: string;
  readonly offset: string;
  readonly key: string;
  readonly time: string;
  readonly headers: string;
  readonly value: string;
}

/**
 * A cluster of librdkafka's own brokers, which speak Kafka's protocol, and a consumer of librdkafka beside them: Debian's kcat is
 * both.
 */
export interface KafkaCluster {
  readonly broker: string;
  consumed(): readonly Consumed[];
  /** What librdkafka is told of a broker, with these settings of its own; rejects where it is told nothing. */
  metadata(broker: string, settings: readonly string[]): Promise<string>;
  /** The brokers take no turn any more: connections stay, and nothing is answered. */
  pause(): void;
  goOn(): void;
  stop(): Promise<void>;
}

const SEPARATOR = "\t";

/** Rejects where this machine cannot have kcat. */
export async function startKafka(topic: string): Promise<KafkaCluster> {
  const root = join(CACHE, "kcat");
  const program = join(root, "usr/bin/kcat");
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (!isThere) await unpackTogether(["kcat"], root);
  const triplet = (await readdir(join(root, "usr/lib"))).find((name) => name.includes("-linux-gnu")) ?? "";
  const environment = { LD_LIBRARY_PATH: join(root, "usr/lib", triplet) };
  const child = spawnTied({ path: program, environment, way: program }, [
    ...["-C", "-b", "replaced", "-X", "test.mock.num.brokers=1", "-d", "mock", "-t", topic],
    ...["-u", "-o", "beginning", "-f", ["%p", "%o", "%k", "%T", "%h", "%s\\n"].join("\\t")],
  ]);
  let [told, said] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    told += text;
  });
  const broker = await new Promise<string>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`kcat ended (${code}): ${said.slice(-1_000)}`)));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-10_000);
      const [, address] = /bootstrap\.servers=(127\.0\.0\.1:\d+)/.exec(said) ?? [];
      // The topic is made when the consumer asks for it.
      if (address !== undefined && said.includes("Created topic")) resolve(address);
    });
  });
  return {
    broker,
    consumed: () =>
      told
        .split("\n")
        .slice(0, -1)
        .map((line) => {
          const [partition = "", offset = "", key = "", time = "", headers = "", ...value] =
            line.split(SEPARATOR);
          return { partition, offset, key, time, headers, value: value.join(SEPARATOR) };
        }),
    async metadata(address, settings) {
      const flags = settings.flatMap((one) => ["-X", one]);
      const env = { ...process.env, ...environment };
      const { stdout } = await promisify(execFile)(program, ["-L", "-b", address, "-m", "10", ...flags], {
        env,
      });
      return stdout;
    },
    pause: () => void child.kill("SIGSTOP"),
    goOn: () => void child.kill("SIGCONT"),
    async stop() {
      child.kill("SIGCONT");
      await endTied(child, "SIGTERM");
    },
  };
}
