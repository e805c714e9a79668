/**
 * What is measured: models of published and small sizes with drawn weights, tasks with the shapes of the domains, policies as subjects of a
 * timed step.
 */
package ai.lram.bench.subject;
