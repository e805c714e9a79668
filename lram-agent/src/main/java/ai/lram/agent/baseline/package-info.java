/** What a model must beat: simple predictors of recorded actions, a cloning net, and a transformer of equal size. */
package ai.lram.agent.baseline;
