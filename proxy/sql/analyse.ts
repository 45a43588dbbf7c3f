import { refuse } from "../wire/refusal.ts";
import { Allowance } from "./bind/effort.ts";
import { bindAll } from "./binding.ts";
import { editsOf } from "./emit/emit.ts";
import { applyEdits } from "./emit/rewrite.ts";
import { judgeAll } from "./judge-text.ts";
import type { Constants } from "./parse/constants.ts";
import { type ParsedText, parseText } from "./parse/parse-text.ts";
import { Source } from "./parse/source.ts";
import { isExpected, Refused, refusalOf, wordsOf } from "./refused.ts";
import { type Copied, peopleCopied } from "./rules/copied-values.ts";
import { shownRow } from "./rules/pinned-people.ts";
import { tellsPlan } from "./rules/told-plans.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import { sightsOf } from "./sight.ts";
import type { StageName } from "./stages.ts";
import { refusedStatements, survey } from "./survey.ts";
import type { Verdict } from "./verdict.ts";
import { faultOf } from "./verify/verify.ts";
import {
  countingScope,
  mayCopy,
  uncounted,
  watched,
  withCopies,
  withPlans,
  withRows,
} from "./watched-text.ts";

/**
 * Called for each fault that the verification pass finds, such as an unqualified relation or an unplanned change. Such
 * a fault is a bug of the analysis.
 */
export type OnLeftover = (name: string) => void;

/** Called when each stage begins. */
export type OnStage = (stage: StageName) => void;

/**
 * Judges a statement text for a scope, in the stages of stages.ts. Pure; never throws for any text. Afterwards
 * `constants` has recorded whether the verdict may depend on the value of a literal, and `allowance` whether the
 * verdict could differ if the analysis were allowed to cost more.
 */
export function analyse(
  text: string,
  scope: Scope,
  onLeftover: OnLeftover = () => {},
  constants?: Constants,
  onStage: OnStage = () => {},
  allowance = Allowance.full(),
): Verdict {
  const { role } = scope;
  if (role.watch !== true && isUnrestricted(role)) return { kind: "pass", statements: survey(text, scope) };
  let stage: StageName = "parse";
  const begin = (next: StageName): void => {
    stage = next;
    onStage(next);
  };
  begin("parse");
  const parsed = parseText(text);
  if (!parsed.ok) {
    if (role.watch === true) return uncounted(text, scope, parsed);
    return { kind: "refuse", statements: [], refusal: parsed.refusal, stage };
  }
  constants?.watch(parsed.statements);
  const source = new Source(text, () => constants?.see());
  const course = { begin, allowance };
  if (role.watch === true) return watch(source, parsed, scope, onLeftover, course);
  try {
    return judge(source, parsed, scope, onLeftover, course);
  } catch (error) {
    const statements = refusedStatements(parsed.statements);
    return { kind: "refuse", statements, refusal: refusalOf(error, text), stage };
  }
}

/** Callback for the stages, and the cost limit. */
interface Course {
  readonly begin: OnStage;
  readonly allowance: Allowance;
}

function judge(
  source: Source,
  parsed: ParsedText,
  scope: Scope,
  onLeftover: OnLeftover,
  { begin, allowance }: Course,
): Verdict {
  const sights = sightsOf(scope);
  begin("bind");
  const bound = bindAll(parsed.statements, scope, sights, allowance);
  begin("rules");
  const { statements, judged, places, ...names } = judgeAll(source, parsed.statements, bound, scope, sights);
  begin("emit");
  const edits = editsOf(source, judged);
  const rewritten = applyEdits(source, edits);
  begin("verify");
  const fault = faultOf(scope, sights, source, edits, { tree: parsed.tree, ...names });
  if (typeof fault === "object") throw new Refused(fault.refusal);
  if (fault !== undefined) {
    onLeftover(fault);
    throw new Refused(
      refuse("42501", `the rewritten statement did not verify (${fault})`, {
        hint: "This is a fault of Sluice, not of the statement: please report it.",
      }),
    );
  }
  const said = { statements, ...(places.length > 0 && { places }) };
  return edits.length === 0 ? { kind: "pass", ...said } : { kind: "rewrite", ...said, ...rewritten };
}

/**
 * For a watched role nothing is refused, and of the changes that the analysis would make only added columns are kept.
 */
function watch(
  source: Source,
  parsed: ParsedText,
  scope: Scope,
  onLeftover: OnLeftover,
  { begin, allowance }: Course,
): Verdict {
  const counting = countingScope(scope);
  const sights = sightsOf(counting);
  let copies: readonly (Copied | undefined)[] | undefined;
  let plans: readonly boolean[] = [];
  try {
    begin("bind");
    const bound = bindAll(parsed.statements, counting, sights, allowance);
    begin("rules");
    const given = { ...counting, sights, castFunctions: 0 };
    copies = parsed.statements.map((raw, index) => {
      const statement = bound[index];
      return statement && peopleCopied(raw, statement, given);
    });
    plans = parsed.statements.map((raw, index) => {
      const statement = bound[index];
      return statement !== undefined && tellsPlan(raw, statement, given);
    });
    const rows = bound.map((statement) => shownRow(statement, given));
    const { statements, judged } = judgeAll(source, parsed.statements, bound, counting, sights);
    begin("emit");
    const verdict = watched(scope, { source, parsed, statements, edits: editsOf(source, judged) });
    return withRows(withCopies(withPlans(verdict, plans), copies), rows);
  } catch (error) {
    if (!isExpected(error)) onLeftover(wordsOf(error));
    const verdict = withPlans(uncounted(source.text, scope, parsed), plans);
    return withCopies(verdict, copies ?? mayCopy(parsed.statements, scope));
  }
}
