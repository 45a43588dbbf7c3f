import { readFile } from "node:fs/promises";
import type pg from "pg";
import { DATABASE, fill } from "../../proxy/demo/fill.ts";
import type { Amounts } from "../../proxy/demo/made-up-people.ts";
import type { WindowUse } from "../../proxy/meter/meter.ts";
import { databaseOn, startPostgres } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { MeterSpy } from "./meter-spy.ts";

/**
 * The demo's help desk behind the shipped policy, with a clock that the test sets, and users who have read nothing yet.
 */

export const AMOUNTS: Amounts = { customers: 2_000, tickets: 4_000, messages: 8_000, payments: 1_000 };

/** One user of the shipped policy for each role: the shipped policy is tested with additional users. */
const ROLES = { agent: "anna, ben", lead: "cleo", app: "helpdesk_app" } as const;
export type DeskRole = keyof typeof ROLES;

export interface Desk {
  readonly store: MeterSpy;
  readonly sluice: TestProxy;
  readonly clock: Clock;
  /** A user of this role who has not read anything. */
  newUser(role: DeskRole): Promise<string>;
  connect(user: string): Promise<pg.Client>;
  /** The number of people whom a user is charged for within the longest window, including fractions. */
  charged(user: string): Promise<number>;
  /** How much of each budget a user has used. */
  uses(user: string): Promise<readonly WindowUse[]>;
  close(): Promise<void>;
}

/** Unix time in milliseconds; it moves only when the test moves it. */
export class Clock {
  now = Date.UTC(2030, 0, 15, 8);
  pass(seconds: number): void {
    this.now += 1000 * seconds;
  }
}

export async function openDesk(): Promise<Desk> {
  const server = await startPostgres({ auth: "trust", settings: { max_connections: "100" } });
  await fill(server.uri, AMOUNTS, () => undefined);
  const control = await databaseOn(server.uri, "control");
  const clock = new Clock();
  const store = new MeterSpy(() => clock.now);
  const sluice = await startProxy(
    { ...control, database: DATABASE },
    { policy: await shippedPolicy(), store },
  );
  let users = 0;
  return {
    store,
    sluice,
    clock,
    async newUser(role) {
      const user = `${role}_${++users}`;
      const group = role === "app" ? "helpdesk" : "support_staff";
      await control.query(`CREATE ROLE ${user} LOGIN IN ROLE ${group}`);
      return user;
    },
    connect: (user) => sluice.connect(user),
    uses: (user) => store.uses(DATABASE, user),
    charged: (user) => store.used(DATABASE, user),
    async close() {
      await sluice.close();
      await control.drop();
      await server.stop();
    },
  };
}

/** policies/support.yaml as shipped, with additional users. */
async function shippedPolicy(): Promise<string> {
  let text = await readFile(new URL("../../policies/support.yaml", import.meta.url), "utf8");
  for (const [role, users] of Object.entries(ROLES)) {
    const line = `users: [${users}]`;
    if (!text.includes(line)) throw new Error(`policies/support.yaml no longer has "${line}"`);
    text = text.replace(line, `users: [${users}, "${role}_*"]`);
  }
  return text;
}
