/** Recording of running episodes: an acknowledged episode survives a killed process. */
package ai.lram.dataset.record;
