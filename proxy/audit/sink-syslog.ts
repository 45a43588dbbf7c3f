import { hostname } from "node:os";
import { connect, type TLSSocket } from "node:tls";
import { factsOf } from "./line-facts.ts";
import type { Sink } from "./sinks.ts";

export interface SyslogOptions {
  readonly host: string;
  readonly port: number;
  /** Authorities (PEM) that sign the receiver's certificate, in place of the well-known ones. */
  readonly ca?: string;
  /** Milliseconds after which a receiver that does not answer, or takes nothing, is left. */
  readonly patience?: number;
}

const PATIENCE = 5_000;
/** Log audit (RFC 5424, section 6.2.1). */
const FACILITY = 13;
/** By OCSF's severity: informational, notice, warning, error, critical. */
const SEVERITY = [6, 6, 5, 4, 3, 2];
/**
 * Syslog has no answer: of what was written last nobody knows whether it arrived before the connection ended. So many lines
 * are written again over the next one.
 */
const AGAIN = 1_000;

/** Syslog over TLS (RFC 5425): messages of RFC 5424, each with its length before it. */
export function syslogSink({ host, port, ca, patience = PATIENCE }: SyslogOptions): Sink {
  let socket: TLSSocket | undefined;
  let last: string[] = [];
  const drop = (one: TLSSocket) => {
    if (socket === one) socket = undefined;
    one.destroy();
  };
  const open = async (): Promise<TLSSocket> => {
    const made = connect({ host, port, ...(ca !== undefined && { ca }), servername: serverName(host) });
    await answered(made, patience);
    // An 'error' that nobody hears would end the process; a receiver has nothing to say, and that it ends is heard at once.
    made
      .on("error", () => drop(made))
      .on("close", () => drop(made))
      .resume();
    socket = made;
    await written(made, last, patience);
    return made;
  };
  return {
    name: "syslog",
    async write(lines) {
      const current = socket ?? (await open());
      try {
        await written(current, lines, patience);
      } catch (error) {
        drop(current);
        throw error;
      }
      last = [...last, ...lines].slice(-AGAIN);
    },
    close() {
      socket?.end();
    },
  };
}

/** A name, and no address, is asked for (RFC 6066, section 3). */
function serverName(host: string): string {
  return /^[\d.]+$|:/.test(host) ? "" : host;
}

async function answered(socket: TLSSocket, patience: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail(new Error("no answer")), patience);
    const fail = (error: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    socket.once("error", fail);
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve();
    });
  });
}

/** Resolves when the system has taken them. */
async function written(socket: TLSSocket, lines: readonly string[], patience: number): Promise<void> {
  if (lines.length === 0) return;
  const bytes = Buffer.concat(lines.map(frameOf));
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail(new Error("the receiver takes nothing")), patience);
    const closed = () => fail(new Error("connection lost"));
    const fail = (error: Error) => {
      clearTimeout(timer);
      socket.off("close", closed);
      reject(error);
    };
    socket.once("close", closed);
    if (socket.destroyed) {
      closed();
      return;
    }
    socket.write(bytes, (error) => {
      clearTimeout(timer);
      socket.off("close", closed);
      if (error) reject(error);
      else resolve();
    });
  });
}

const HOST =
  hostname()
    .replaceAll(/[^!-~]/g, "_")
    .slice(0, 255) || "-";

/** A line as an octet-counted message. */
function frameOf(line: string): Buffer {
  const { time, kind, severity } = factsOf(line);
  const priority = 8 * FACILITY + (SEVERITY[severity] ?? 6);
  const id = kind.replaceAll(" ", "-").slice(0, 32) || "-";
  const header = `<${priority}>1 ${new Date(time).toISOString()} ${HOST} sluice ${process.pid} ${id} -`;
  const message = Buffer.from(`${header} ${line.trimEnd()}`);
  return Buffer.concat([Buffer.from(`${message.length} `), message]);
}
