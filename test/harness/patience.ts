import { vi } from "vitest";

/**
 * Vitest waits one second for a condition by default. On a busy machine a server may need longer. A test that waits for
 * the thing itself loses nothing by a longer limit, so this is the shortest one.
 */
const PATIENCE = 30_000;

const { waitFor, waitUntil } = vi;

// This runs before each file, and the files of a worker share their modules.
if (!("isPatient" in waitFor)) {
  vi.waitFor = Object.assign<typeof waitFor, object>(
    (callback, options) => waitFor(callback, patient(options)),
    {
      isPatient: true,
    },
  );
  vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));
}

function patient<Options extends { readonly timeout?: number }>(options: number | Options | undefined) {
  const { timeout = 0, ...others } = typeof options === "number" ? { timeout: options } : (options ?? {});
  return { ...others, timeout: Math.max(timeout, PATIENCE) };
}
