/** What went wrong with a command: its arguments, or what they name is not there. */
export interface Wrong {
  readonly problem: string;
  /** 1: not there or not readable; 2: misused. */
  readonly status: 1 | 2;
}

/** What a command writes to. */
export interface Streams {
  readonly output: { write(text: string): unknown };
  readonly errors: { write(text: string): unknown };
}

export const STANDARD: Streams = { output: process.stdout, errors: process.stderr };

export function misused(problem: string): Wrong {
  return { problem, status: 2 };
}

export function isWrong(value: unknown): value is Wrong {
  return typeof value === "object" && value !== null && "problem" in value;
}

/** Says what is wrong, and gives the command's exit status. */
export function complain(command: string, wrong: Wrong, streams: Streams): number {
  streams.errors.write(`sluice ${command}: ${wrong.problem}\n`);
  return wrong.status;
}
