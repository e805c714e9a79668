/** Model cards: what a model observes, commands and expects, with units, bounds, rates and normalisation. */
package ai.lram.agent.card;
