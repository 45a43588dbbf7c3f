import { overview } from "./overview.ts";
import type { BoardPlan } from "./plan.ts";

/** All dashboards. */
export const BOARDS: readonly BoardPlan[] = [overview];
