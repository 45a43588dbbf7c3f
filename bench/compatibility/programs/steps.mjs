/** Where to connect: a URI with user and password. */
export const URI = process.env.COMPAT_URI ?? "";
export const EMAIL = "customer.7@example.com";

/** Does one thing that an application does, and prints what came of it: a line of JSON for compatibility/steps.ts. */
export async function step(name, act) {
  let line;
  try {
    line = { step: name, value: (await act()) ?? null };
  } catch (error) {
    line = { step: name, error: describe(error) };
  }
  const asText = (_, value) => (typeof value === "bigint" ? String(value) : value);
  process.stdout.write(`${JSON.stringify(line, asText)}\n`);
}

/** A step that expects a failure: gives the SQLSTATE, and fails itself where nothing fails. */
export async function sqlstate(act) {
  try {
    await act();
  } catch (error) {
    const code = stateOf(error);
    if (code !== undefined) return code;
    throw error;
  }
  throw new Error("no error came");
}

function stateOf(error) {
  for (let at = error; at; at = at.cause ?? at.nativeError ?? at.original ?? at.driverError) {
    const code = at.meta?.driverAdapterError?.cause?.originalCode ?? at.code;
    if (/^[0-9A-Z]{5}$/.test(code ?? "")) return code;
  }
  return undefined;
}

function describe(error) {
  let last = error;
  while (last?.cause ?? last?.nativeError ?? last?.original)
    last = last.cause ?? last.nativeError ?? last.original;
  const message = String(last?.message ?? last)
    .split("\n")
    .filter(Boolean)
    .join(" ");
  return [stateOf(error), message].filter(Boolean).join(" ").slice(0, 300);
}
