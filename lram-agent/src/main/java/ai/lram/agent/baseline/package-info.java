/** What a model must beat: simple predictors of recorded actions. */
package ai.lram.agent.baseline;
