import { vi } from "vitest";

/**
 * Vitest waits one second for a condition, unless said otherwise. On a busy machine a server may need longer;
 * who waits for the thing itself loses nothing by waiting for it longer.
 */
const PATIENCE = { timeout: 15_000 } as const;

const { waitFor, waitUntil } = vi;

vi.waitFor = (callback, options) => waitFor(callback, patient(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));

function patient<Options extends { readonly timeout?: number }>(options: number | Options | undefined) {
  return typeof options === "number" ? options : { ...PATIENCE, ...options };
}
