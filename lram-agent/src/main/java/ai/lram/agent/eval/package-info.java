/** How good a model is: open-loop comparison with recorded actions. */
package ai.lram.agent.eval;
