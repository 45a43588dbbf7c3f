import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import pg from "pg";
import { customerPage, logInPage, missingPage, problemPage, type Shown, STYLE } from "./desk-pages.ts";

/*
 * A help desk's web application, as small as it can be: pages made on the server, one database user for all agents, and the
 * agent's name in a setting of each transaction. It masks nothing, counts nothing and limits nothing.
 */

export interface DeskOptions {
  /** Of the application's own user. */
  readonly connectionString: string;
  /** 0: any that is free. */
  readonly port: number;
}

export interface Desk {
  readonly url: string;
  close(): Promise<void>;
}

/** Whoever works here. It is a demo: nobody asks for a password. */
export const AGENTS: readonly string[] = ["dora", "emil"];

const HOST = "127.0.0.1";
const COOKIE = "desk";
/** A form of ours has some twenty bytes. */
const LONGEST_FORM = 1_000;
const SESSIONS = 1_000;

export async function startDesk({ connectionString, port }: DeskOptions): Promise<Desk> {
  const pool = new pg.Pool({ connectionString, application_name: "help desk", max: 3 });
  // A connection that is lost while nobody uses it.
  pool.on("error", () => {});
  const sessions = new Map<string, string>();
  const server = createServer((request, response) => {
    answer(request, response, pool, sessions).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, HOST, resolve);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await pool.end();
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  pool: pg.Pool,
  sessions: Map<string, string>,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", `http://${HOST}`);
  const session = cookieOf(request);
  const agent = session === undefined ? undefined : sessions.get(session);
  if (pathname === "/desk.css") return send(response, 200, STYLE, "text/css");
  if (request.method === "POST" && pathname === "/log-in") {
    const name = new URLSearchParams(await formOf(request)).get("agent") ?? "";
    if (!AGENTS.includes(name)) return redirect(response, "/");
    const [oldest] = sessions.size >= SESSIONS ? sessions.keys() : [];
    if (oldest !== undefined) sessions.delete(oldest);
    const id = randomBytes(16).toString("base64url");
    sessions.set(id, name);
    response.setHeader("set-cookie", `${COOKIE}=${id}; HttpOnly; SameSite=Strict; Path=/`);
    return redirect(response, "/customer?id=7");
  }
  if (request.method === "POST" && pathname === "/log-out") {
    if (session !== undefined) sessions.delete(session);
    return redirect(response, "/");
  }
  if (agent === undefined) return send(response, 200, logInPage(AGENTS));
  try {
    const shown = await customerFor(pool, agent, pathname, searchParams);
    if (shown === undefined) send(response, 404, missingPage(agent));
    else send(response, 200, customerPage(agent, shown));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const { code = "", message, detail = "", hint = "" } = error;
    // insufficient_resources (class 53): later there is room again.
    send(response, code.startsWith("53") ? 429 : 403, problemPage(agent, { code, message, detail, hint }));
  }
}

const CUSTOMER = "SELECT id, name, email, phone, country FROM customers WHERE";
const TICKETS = "SELECT id, subject, status FROM tickets WHERE customer_id = $1 ORDER BY id LIMIT 20";

/** Whom the page is about, read for this agent. */
async function customerFor(
  pool: pg.Pool,
  agent: string,
  pathname: string,
  parameters: URLSearchParams,
): Promise<Shown | undefined> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query("SELECT set_config('app.agent', $1, true)", [agent]);
    const { rows } =
      pathname === "/search"
        ? await client.query(`${CUSTOMER} email = $1`, [parameters.get("email") ?? ""])
        : await client.query(`${CUSTOMER} id = $1`, [Number(parameters.get("id") ?? 7) || 0]);
    const [customer] = rows;
    if (customer === undefined) return undefined;
    const { id, ...fields } = customer;
    const tickets = await client.query(TICKETS, [id]);
    return {
      id: Number(id),
      fields: Object.entries(fields).map(([name, value]) => [name, String(value)]),
      tickets: tickets.rows,
    };
  } finally {
    await client.query("ROLLBACK").catch(() => {});
    client.release();
  }
}

function cookieOf({ headers }: IncomingMessage): string | undefined {
  return new RegExp(`(?:^|; )${COOKIE}=([\\w-]{22})(?:;|$)`).exec(headers.cookie ?? "")?.[1];
}

async function formOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of request.setEncoding("utf8")) {
    text += part;
    if (text.length > LONGEST_FORM) throw new Error("a form that is too long");
  }
  return text;
}

function redirect(response: ServerResponse, to: string): void {
  response.writeHead(303, { location: to }).end();
}

function send(response: ServerResponse, status: number, text: string, type = "text/html"): void {
  response
    .writeHead(status, {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy":
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    })
    .end(text);
}
