import { Kafka, logLevel, type Message, type Producer, type SASLOptions } from "kafkajs";
import { factsOf } from "./line-facts.ts";
import type { Sink } from "./sinks.ts";

/** How the brokers are shown who writes; PLAIN shows them the password itself. */
export type SaslMechanism = "plain" | "scram-sha-256" | "scram-sha-512";

/** Brokers to begin with, and the topic. */
export interface KafkaTarget {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly tls: boolean;
}

export interface KafkaOptions extends KafkaTarget {
  /** Authorities (PEM) that sign the brokers' certificates, in place of the well-known ones. */
  readonly ca?: string;
  /** SASL. */
  readonly login?: {
    readonly mechanism: SaslMechanism;
    readonly username: string;
    readonly password: string;
  };
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
    ...(options.login !== undefined && { sasl: saslOf(options.login) }),
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
      try {
        for (const part of inParts(lines)) await send(part.map(messageOf));
      } catch (error) {
        throw new Error(problemOf(error, options.login?.mechanism), { cause: error });
      }
    },
    close() {
      void producer?.disconnect().catch(() => {});
    },
  };
}

/** The library's type has a mechanism in each of its members. */
function saslOf({ mechanism, username, password }: NonNullable<KafkaOptions["login"]>): SASLOptions {
  switch (mechanism) {
    case "plain":
      return { mechanism, username, password };
    case "scram-sha-256":
      return { mechanism, username, password };
    case "scram-sha-512":
      return { mechanism, username, password };
  }
}

/** Why nothing is taken, for the log. What brokers say to a login may repeat who it was: it is left out. */
function problemOf(error: unknown, mechanism: SaslMechanism = "scram-sha-512"): string {
  const causes: { name?: string; code?: string; type?: string; message?: string }[] = [];
  for (let one = error; one instanceof Error && causes.length < 5; one = one.cause)
    causes.push(one as Error & { code?: string; type?: string });
  const found = (test: (one: (typeof causes)[number]) => boolean) => causes.find(test);
  const certificate = found(({ code = "" }) => /CERT|SIGNATURE|ISSUER/.test(code))?.code;
  if (certificate === "CERT_HAS_EXPIRED") return "the broker's certificate has expired (CERT_HAS_EXPIRED)";
  if (certificate === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "the broker's certificate is for another name (ERR_TLS_CERT_ALTNAME_INVALID)";
  if (certificate !== undefined)
    return `the broker's certificate is not signed by a known authority or --kafka-ca (${certificate})`;
  if (found(({ name, message = "" }) => /SASL/.test(name ?? "") || /SASL/.test(message)) !== undefined) {
    const isUnknown = found(
      ({ type, message = "" }) =>
        type === "UNSUPPORTED_SASL_MECHANISM" || /mechanism is not supported/.test(message),
    );
    return isUnknown !== undefined
      ? `the brokers do not take a login by ${mechanism} (--kafka-sasl)`
      : `the brokers refuse the login of --kafka-login-file (${mechanism})`;
  }
  const [first = {}] = causes;
  return (
    found(({ type }) => type !== undefined)?.type ??
    found(({ code }) => code !== undefined)?.code ??
    first.message ??
    "unknown error"
  );
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
