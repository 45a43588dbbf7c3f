import { expect } from "vitest";
import {
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { POLICY } from "./policy.ts";
import { type Recorder, type Recording, startRecorder } from "./recorder.ts";

/** A support database, and two ways to it that write down all that the server says. */
export interface Helpdesk {
  readonly database: TestDatabase;
  readonly sluice: TestSluice;
  /** Where this user connects to be guarded. */
  uriFor(user: SupportUser): string;
  /**
   * Lets the application do the same directly and through Sluice, and holds both against each other: the
   * client's own result, and every byte that it was sent. Gives the result, so that the test can say that
   * something was done at all.
   */
  sameBothWays<Result>(act: (uri: string) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

export async function openHelpdesk(name: string): Promise<Helpdesk> {
  const database = await freshDatabase(name);
  await supportSchema(database.uri);
  return helpdeskOn(database);
}

/** On a database that is there already. */
export async function helpdeskOn(database: TestDatabase): Promise<Helpdesk> {
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri });
  const direct = await startRecorder(database);
  const through = await startRecorder(sluice);
  const appAt = (recorder: Recorder) => {
    const url = new URL(database.uriFor("helpdesk_app", PASSWORDS.helpdesk_app));
    url.hostname = "127.0.0.1";
    url.port = String(recorder.port);
    return url.href;
  };
  return {
    database,
    sluice,
    uriFor: (user) => sluice.uriFor(user, PASSWORDS[user]),
    async sameBothWays(act) {
      // What a test that failed has left behind.
      await Promise.all([direct.take(), through.take()]);
      const expected = await act(appAt(direct));
      const said = await direct.take();
      const result = await act(appAt(through));
      expectSame(await through.take(), said);
      expect(result).toEqual(expected);
      return result;
    },
    async close() {
      await Promise.all([direct.close(), through.close()]);
      await sluice.close();
      await database.drop();
    },
  };
}

/** The first message that differs, and what came before it: a whole recording would be pages. */
function expectSame(actual: readonly Recording[], expected: readonly Recording[]): void {
  expect(expected.flat().length).toBeGreaterThan(0);
  for (const [i, wanted] of expected.entries()) {
    const got = actual[i] ?? [];
    const at = wanted.findIndex((line, n) => got[n] !== line);
    const from = Math.max(0, at - 3);
    if (at >= 0) expect(excerpt(got, from), `connection ${i}, message ${at}`).toEqual(excerpt(wanted, from));
    expect(got.length, `messages of connection ${i}; next: ${got[wanted.length]}`).toBe(wanted.length);
  }
  expect(actual.length).toBe(expected.length);
}

function excerpt(recording: Recording, from: number): readonly string[] {
  return recording.slice(from, from + 6).map((line) => line.slice(0, 500));
}
