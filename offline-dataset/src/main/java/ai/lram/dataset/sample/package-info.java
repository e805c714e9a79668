/** What training draws from a store: splits by episode, statistics of a split, and reproducible random windows. */
package ai.lram.dataset.sample;
