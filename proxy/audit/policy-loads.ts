import { openEngine, within } from "./engine.ts";
import { textList } from "./log-lines.ts";
import { NoLog } from "./readings.ts";
import { listSegments, mayHold, type Period } from "./segments.ts";

/** A policy that came into force. */
export interface PolicyLoad {
  /** When the first process loaded it, Unix time in milliseconds. */
  readonly time: number;
  readonly version: string;
  /** How many processes said so until the next one came. */
  readonly processes: number;
  /** What it says, a line each; undefined in the log of an older version. */
  readonly says: readonly string[] | undefined;
}

const FIELDS = `{
  time: 'DOUBLE',
  policy: 'STRUCT(uid VARCHAR)',
  unmapped: 'STRUCT(kind VARCHAR, says VARCHAR[])',
  metadata: 'STRUCT(log_name VARCHAR, sequence DOUBLE)'
}`;
/** Each process writes one at each start and each change: more than anybody looks through. */
const MOST_LINES = 5_000;

/**
 * The policies that came into force, the newest first. Processes of a fleet load a new policy within moments: what they
 * say one after the other of the same version is one load.
 */
export async function policyLoads(
  folder: string,
  period: Period,
  patience: number,
): Promise<readonly PolicyLoad[]> {
  const segments = (await listSegments(folder)).filter((file) => mayHold(file, period));
  if (segments.length === 0) throw new NoLog(`"${folder}" holds no audit log of this time`);
  const connection = await openEngine("console");
  try {
    return await within(connection, patience, async () => {
      const files = textList(segments.map(({ path }) => path));
      const reader = await connection.runAndReadAll(
        `SELECT time, policy.uid AS version, unmapped.says AS says
         FROM read_json(${files}, format = 'newline_delimited', columns = ${FIELDS}, ignore_errors = true)
         WHERE unmapped.kind = 'policy loaded' AND time >= $1
         ORDER BY time DESC, metadata.log_name, metadata.sequence LIMIT ${MOST_LINES}`,
        [period.since],
      );
      return drawnTogether(
        (reader.getRowObjectsJS() as unknown as readonly LoadedLine[]).toReversed(),
      ).toReversed();
    });
  } finally {
    connection.closeSync();
  }
}

interface LoadedLine {
  readonly time: number;
  readonly version: string | null;
  readonly says: readonly string[] | null;
}

function drawnTogether(lines: readonly LoadedLine[]): readonly PolicyLoad[] {
  const loads: PolicyLoad[] = [];
  for (const { time, version, says } of lines) {
    const last = loads.at(-1);
    if (last !== undefined && last.version === version) {
      loads[loads.length - 1] = {
        ...last,
        processes: last.processes + 1,
        says: last.says ?? says ?? undefined,
      };
    } else loads.push({ time, version: version ?? "", processes: 1, says: says ?? undefined });
  }
  return loads;
}
