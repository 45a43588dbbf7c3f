import { randomUUID } from "node:crypto";
import { z } from "zod";
import { SEVERITIES } from "../cases/case-changes.ts";
import { SealedChannel, type SealedChannelOptions } from "../fleet/sealed-channel.ts";
import type { RunningInfo } from "../fleet/session-registry.ts";
import {
  isRefusal,
  NOTABLE_KINDS,
  type Notable,
  type Recent,
  type SeenStatement,
  type Wanted,
} from "./recent.ts";

export interface FleetOptions extends SealedChannelOptions {
  /** What this process can tell. */
  readonly recent: Recent;
  /** What sessions of this process run now: so many at most. */
  readonly running: (most: number) => readonly RunningInfo[];
  /** Ends a session of this process; false: there is none with this id. */
  readonly end: (session: string, by: string) => boolean;
}

/** How long the others may take. Who asks looks at a page. */
const ANSWER_MS = 500;
/** Of each process. */
const NOTABLES = 200;
const STATEMENTS = 200;
const RUNNING = 200;
/** A statement may be as long as a message; this is for reading. */
const LONGEST_TEXT = 4_000;
const PLACE = "recent";
const CHANNEL = "sluice:recent";

const questionSchema = z.object({
  ask: z.string(),
  /** Whose channel the answer goes to. */
  from: z.string(),
  about: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("notables") }),
    z.object({ kind: z.literal("statements"), session: z.string(), user: z.string() }),
    z.object({ kind: z.literal("running") }),
    z.object({ kind: z.literal("end"), session: z.string(), by: z.string() }),
  ]),
});
type FleetQuestion = z.infer<typeof questionSchema>;

const notableSchema: z.ZodType<Notable> = z.object({
  number: z.number(),
  time: z.number(),
  kind: z.enum(NOTABLE_KINDS),
  user: z.string(),
  role: z.string(),
  database: z.string(),
  client: z.string(),
  sqlstate: z.string(),
  rule: z.string(),
  text: z.string(),
  alert: z.string().exactOptional(),
  severity: z.enum(SEVERITIES).exactOptional(),
  session: z.string().exactOptional(),
});

const statementSchema: z.ZodType<SeenStatement> = z.object({
  time: z.number(),
  session: z.string(),
  user: z.string(),
  account: z.string().exactOptional(),
  role: z.string(),
  database: z.string(),
  client: z.string(),
  application: z.string(),
  command: z.string(),
  statement: z.string(),
  decision: z.enum(["allow", "mask", "refuse", "cut", "observe"]),
  sqlstate: z.string().exactOptional(),
  rule: z.string().exactOptional(),
  masked: z.array(z.string()),
  rows: z.number(),
  people: z.number(),
  duration: z.number(),
});

const runningSchema: z.ZodType<RunningInfo> = z.object({
  session: z.string(),
  user: z.string(),
  role: z.string(),
  database: z.string(),
  statement: z.string(),
  duration: z.number(),
});

const answerSchema = z.object({
  answer: z.string(),
  notables: z.array(notableSchema).exactOptional(),
  statements: z.array(statementSchema).exactOptional(),
  running: z.array(runningSchema).exactOptional(),
  ended: z.boolean().exactOptional(),
});
type FleetAnswer = z.infer<typeof answerSchema>;

/** What others have told, and how many of them have. */
export interface Told<T> {
  readonly items: readonly T[];
  readonly processes: number;
}

interface PendingAnswers {
  readonly answers: FleetAnswer[];
  /** How many are to come; undefined until that is known. */
  expected: number | undefined;
  readonly done: () => void;
}

/**
 * Asks the other proxies and workers, through their Redis, what they decided lately.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #own = randomUUID();
  readonly #channel: SealedChannel;
  readonly #waiting = new Map<string, PendingAnswers>();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#channel = new SealedChannel(options, PLACE, [CHANNEL, `${CHANNEL}:${this.#own}`], (message) =>
      this.#receive(message),
    );
  }

  async notables(): Promise<Told<Notable>> {
    const answers = await this.#ask({ kind: "notables" });
    return told(answers.flatMap(({ notables }) => (notables === undefined ? [] : [notables])));
  }

  async statements({ session = "", user = "" }: Wanted): Promise<Told<SeenStatement>> {
    const answers = await this.#ask({ kind: "statements", session, user });
    return told(answers.flatMap(({ statements }) => (statements === undefined ? [] : [statements])));
  }

  async running(): Promise<Told<RunningInfo>> {
    const answers = await this.#ask({ kind: "running" });
    return told(answers.flatMap(({ running }) => (running === undefined ? [] : [running])));
  }

  /** Whether another process had this session, and ended it. */
  async end(session: string, by: string): Promise<boolean> {
    const answers = await this.#ask({ kind: "end", session, by });
    return answers.some(({ ended }) => ended === true);
  }

  close(): void {
    this.#channel.close();
  }

  /** Resolves with what has come by the time limit; with nothing while Redis is away. */
  async #ask(about: FleetQuestion["about"]): Promise<readonly FleetAnswer[]> {
    if (!this.#channel.reachable) return [];
    const ask = randomUUID();
    let timer: NodeJS.Timeout | undefined;
    const answers: FleetAnswer[] = [];
    const answered = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ANSWER_MS);
      this.#waiting.set(ask, { answers, expected: undefined, done: resolve });
    });
    try {
      const heard = await this.#publish(CHANNEL, { ask, from: this.#own, about });
      const waiting = this.#waiting.get(ask);
      if (waiting !== undefined && heard !== undefined) {
        waiting.expected = heard - 1;
        if (answers.length >= waiting.expected) waiting.done();
      }
      await answered;
    } catch {
      // Redis went away meanwhile.
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(ask);
    }
    return answers;
  }

  #publish(channel: string, message: FleetQuestion | FleetAnswer): Promise<number | undefined> {
    return this.#channel.publish(channel, message);
  }

  async #receive(message: unknown): Promise<void> {
    const answer = answerSchema.safeParse(message);
    if (answer.success) {
      const waiting = this.#waiting.get(answer.data.answer);
      waiting?.answers.push(answer.data);
      if (waiting !== undefined && waiting.answers.length >= (waiting.expected ?? Infinity)) waiting.done();
      return;
    }
    const question = questionSchema.safeParse(message);
    // Of a proxy of another version.
    if (!question.success || question.data.from === this.#own) return;
    const { ask, from, about } = question.data;
    await this.#publish(`${CHANNEL}:${from}`, { answer: ask, ...this.#tell(about) }).catch(() => {});
  }

  #tell(about: FleetQuestion["about"]): Omit<FleetAnswer, "answer"> {
    const { recent, running, end } = this.#options;
    switch (about.kind) {
      case "notables": {
        const all = recent.notables();
        const alerts = all.filter(({ kind }) => !isRefusal(kind)).slice(0, NOTABLES);
        return {
          notables: [...alerts, ...all.filter(({ kind }) => isRefusal(kind)).slice(0, NOTABLES)].map(
            shortened,
          ),
        };
      }
      case "statements": {
        const { session, user } = about;
        const wanted = { ...(session && { session }), ...(user && { user }) };
        const found = recent.statements(wanted).slice(0, STATEMENTS);
        return { statements: found.map((one) => ({ ...one, statement: short(one.statement) })) };
      }
      case "running":
        return { running: running(RUNNING).map((one) => ({ ...one, statement: short(one.statement) })) };
      case "end":
        return { ended: end(about.session, about.by) };
    }
  }
}

function told<T>(lists: readonly (readonly T[])[]): Told<T> {
  return { items: lists.flat(), processes: lists.length };
}

function shortened(notable: Notable): Notable {
  return { ...notable, text: short(notable.text) };
}

function short(text: string): string {
  return text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)} …` : text;
}
