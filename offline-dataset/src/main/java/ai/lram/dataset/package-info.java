/** Module offline-dataset. */
package ai.lram.dataset;
