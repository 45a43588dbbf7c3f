import pg from "pg";
import type { ServerSettings } from "../../proxy/app/server.ts";
import type { PrepareSession } from "../../proxy/session/accept/connection.ts";
import { isConnection } from "../../proxy/session/context/established.ts";
import { sayFarewell } from "../../proxy/session/login/conversation.ts";
import { errorResponse } from "../../proxy/wire/errors.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";

/** The guarded are anna and agent_*, apps see all, and whoever is not named has no role. */
const POLICY = `
version: 1
classes:
  email: { mask: email }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent:
    users: [anna, "agent_*"]
    reads: [public.customers]
    rows: 100
  far_agent:
    users: [zoe]
    from: [203.0.113.0/24]
    reads: [public.customers]
  app:
    users: [helpdesk_app, postgres, "app_*"]
    reads: all
    writes: all
    sees: all
    budget: none
`;

export interface RelayOptions {
  readonly upstream: string;
  readonly policy?: string;
  readonly settings?: Partial<ServerSettings>;
  readonly prepareSession?: PrepareSession;
}

/** A proxy up to and past login, whose sessions are relayed without a guard. */
export function startRelay({ upstream, ...options }: RelayOptions): Promise<TestProxy> {
  return startProxy(upstream, { policy: POLICY, prepareSession: relay, ...options });
}

/** Passes all bytes on, both ways. */
const relay: PrepareSession = async ({ client, server, dismissal }) => {
  if (!isConnection(server)) throw new Error("no pool is served here");
  const end = () => {
    const refusal = dismissal.atOnce ?? dismissal.whenIdle;
    sayFarewell(client.socket, refusal && errorResponse(refusal));
    server.socket.destroy();
  };
  return () =>
    new Promise((resolve) => {
      dismissal.heed(end);
      server.socket.write(client.reader.drain());
      client.socket.write(server.reader.drain());
      client.socket.pipe(server.socket);
      server.socket.pipe(client.socket);
      client.socket.once("close", () => server.socket.destroy());
      server.socket.once("close", () => resolve("client"));
    });
};

/** Logs in, runs one query, leaves. */
export async function ask(config: pg.ClientConfig, sql = "SELECT current_user AS answer"): Promise<string> {
  const client = new pg.Client(config);
  client.on("error", () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ answer: string }>(sql);
    return rows[0]?.answer ?? "";
  } finally {
    await client.end();
  }
}
