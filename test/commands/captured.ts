import { vi } from "vitest";

export interface Captured {
  readonly status: number;
  readonly out: string;
  readonly errors: string;
}

/** What a command writes meanwhile goes nowhere else. */
export async function captured(command: () => Promise<number>): Promise<Captured> {
  const written = { out: "", errors: "" };
  const taking = (stream: keyof typeof written) => (text: string | Uint8Array) => {
    written[stream] += String(text);
    return true;
  };
  vi.spyOn(process.stdout, "write").mockImplementation(taking("out"));
  vi.spyOn(process.stderr, "write").mockImplementation(taking("errors"));
  const status = await command();
  vi.restoreAllMocks();
  return { status, ...written };
}
