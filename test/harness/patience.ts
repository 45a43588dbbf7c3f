import { vi } from "vitest";

/**
 * Vitest waits one second for a condition, unless said otherwise. On a busy machine a server may need longer;
 * who waits for the thing itself loses nothing by waiting for it longer, so nobody waits for less.
 */
const PATIENCE = 30_000;

const { waitFor, waitUntil } = vi;

vi.waitFor = (callback, options) => waitFor(callback, patient(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));

function patient<Options extends { readonly timeout?: number }>(options: number | Options | undefined) {
  const { timeout = 0, ...others } = typeof options === "number" ? { timeout: options } : (options ?? {});
  return { ...others, timeout: Math.max(timeout, PATIENCE) };
}
