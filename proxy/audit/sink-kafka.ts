import { Kafka, logLevel, type Message, type Producer } from "kafkajs";
import { factsOf } from "./line-facts.ts";
import type { Sink } from "./sinks.ts";

/** Brokers to begin with, and the topic. */
export interface KafkaTarget {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly tls: boolean;
}

export interface KafkaOptions extends KafkaTarget {
  /** Authorities (PEM) that sign the brokers' certificates, in place of the well-known ones. */
  readonly ca?: string;
  /** SASL with SCRAM-SHA-512. */
  readonly login?: { readonly username: string; readonly password: string };
  /** Told of lines that the brokers never take. */
  readonly onRefused: (lines: number, problem: string) => void;
  /** Milliseconds that a broker may take. */
  readonly patience?: number;
}

const PATIENCE = 5_000;
/** A broker takes a megabyte at a time unless it was told otherwise (`message.max.bytes`). */
const MOST_BYTES = 512 * 1024;
const ALL_REPLICAS = -1;
/** Sent again, they would be refused again. */
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);
/** Which chain the line is of. Quotes in what clients write have a backslash before them: no text of theirs matches. */
const WRITER = /"log_name":"([\w.-]+)"/;

/**
 * A topic of Kafka: a message a line, its value the line as it is in the files, its key the writer, so that the lines of a
 * chain are in one partition in their order.
 */
export function kafkaSink({ topic, patience = PATIENCE, onRefused, ...options }: KafkaOptions): Sink {
  const kafka = new Kafka({
    ...{ clientId: "sluice", brokers: [...options.brokers], logLevel: logLevel.NOTHING },
    ...{ connectionTimeout: patience, authenticationTimeout: patience, requestTimeout: patience },
    // What fails is written again by the buffer before this.
    retry: { retries: 1, initialRetryTime: 100 },
    ssl: options.tls && (options.ca === undefined ? true : { ca: [options.ca] }),
    ...(options.login !== undefined && { sasl: { mechanism: "scram-sha-512", ...options.login } }),
  });
  let producer: Producer | undefined;
  const connected = async (): Promise<Producer> => {
    if (producer !== undefined) return producer;
    // One request at a time: a second one would overtake a first one that failed.
    const made = kafka.producer({ maxInFlightRequests: 1, allowAutoTopicCreation: false });
    try {
      await made.connect();
    } catch (error) {
      await made.disconnect().catch(() => {});
      throw error;
    }
    producer = made;
    return made;
  };
  const send = async (messages: readonly Message[]): Promise<void> => {
    try {
      await (await connected()).send({
        topic,
        acks: ALL_REPLICAS,
        timeout: patience,
        messages: [...messages],
      });
    } catch (error) {
      if (!TOO_LARGE.has(typeOf(error))) throw error;
      if (messages.length === 1) {
        onRefused(1, typeOf(error));
        return;
      }
      const half = Math.ceil(messages.length / 2);
      await send(messages.slice(0, half));
      await send(messages.slice(half));
    }
  };
  return {
    name: "kafka",
    async write(lines) {
      for (const part of inParts(lines)) await send(part.map(messageOf));
    },
    close() {
      void producer?.disconnect().catch(() => {});
    },
  };
}

function messageOf(line: string): Message {
  const { time, kind, severity } = factsOf(line);
  const [, writer = ""] = WRITER.exec(line) ?? [];
  return {
    ...(writer !== "" && { key: writer }),
    value: line.trimEnd(),
    timestamp: String(time),
    headers: { kind, severity: String(severity) },
  };
}

function* inParts(lines: readonly string[]): Generator<readonly string[]> {
  let part: string[] = [];
  let bytes = 0;
  for (const line of lines) {
    const length = Buffer.byteLength(line);
    if (part.length > 0 && bytes + length > MOST_BYTES) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(line);
    bytes += length;
  }
  if (part.length > 0) yield part;
}

/** The name that Kafka's protocol gives an error. */
function typeOf(error: unknown): string {
  const { type, cause } = error as { type?: unknown; cause?: { type?: unknown } };
  return String(type ?? cause?.type ?? "");
}
