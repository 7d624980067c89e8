//! Rules about the tasks and the data that they work on.

use super::super::data::CLAIMS_MAX;
use super::super::draft::Draft;
use super::super::problem::Problem;
use super::super::{Keys, RunPlan, build};
use super::Rule;

pub(super) const RULES: [Rule; 6] =
    [few_workers, several_customers, one_named_run, fault_in_a_task, bounded_claims, one_source];

fn few_workers(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(workers), Some(count)) = (&draft.tasks.workers, &draft.tasks.count) else { return };
    if workers.get_ref() > count.get_ref() {
        let problem = Problem::new(workers.span(), "there are more workers than tasks");
        problems.push(problem.also(count.span(), "the tasks"));
    }
}

fn several_customers(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(keys), Some(customers)) = (&draft.tasks.keys, &draft.data.customers) else { return };
    if *keys.get_ref() != Keys::One && *customers.get_ref() < 2 {
        let problem = Problem::new(keys.span(), "the tasks' customers are drawn, and there is only one");
        problems.push(problem.also(customers.span(), "the customers").help("Say `customers` in `[data]`."));
    }
}

fn one_named_run(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(run), Some(customers)) = (&draft.tasks.run, &draft.data.customers) else { return };
    if matches!(run.get_ref(), RunPlan::Named(_)) && *customers.get_ref() > 1 {
        let problem = Problem::new(run.span(), "a run belongs to one customer, and there are several");
        problems.push(problem.also(customers.span(), "the customers").help("Say run = \"by-window\"."));
    }
}

fn fault_in_a_task(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some((task, count)) =
        draft.fault.as_ref().and_then(|fault| fault.get_ref().task.as_ref()).zip(draft.tasks.count.as_ref())
    else {
        return;
    };
    if task.get_ref() >= count.get_ref() {
        let message = format!("there is no task {}: they are numbered from 0", task.get_ref());
        problems.push(Problem::new(task.span(), message).also(count.span(), "the tasks"));
    }
}

fn bounded_claims(draft: &Draft, problems: &mut Vec<Problem>) {
    let claims = draft.data.claims_per_customer.known(build::CLAIMS_PER_CUSTOMER);
    let (Some(each), Some(customers)) = (claims, &draft.data.customers) else { return };
    if u64::from(each) * u64::from(*customers.get_ref()) > u64::from(CLAIMS_MAX) && draft.data.csv.is_absent() {
        let message =
            format!("{} customers with {each} claims each are more than {CLAIMS_MAX} claims", customers.get_ref());
        let at = draft.data.claims_per_customer.given().map_or(customers.span(), toml::Spanned::span);
        problems.push(Problem::new(at, message));
    }
}

fn one_source(draft: &Draft, problems: &mut Vec<Problem>) {
    let data = &draft.data;
    if let (Some(csv), Some(generated)) = (data.csv.given(), data.claims_per_customer.given()) {
        let problem = Problem::new(generated.span(), "claims that come from a file are not generated");
        problems.push(problem.also(csv.span(), "the file"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::sound;

    #[test]
    fn few_workers_ok() {
        sound().with("[tasks]", "workers = 8").is_ok();
    }

    #[test]
    fn few_workers_err() {
        sound().with("[tasks]", "workers = 9").is_err("there are more workers than tasks");
    }

    #[test]
    fn several_customers_ok() {
        sound().with("[tasks]", "keys = { zipf = 1.1 }").with("[data]", "customers = 2").is_ok();
    }

    #[test]
    fn several_customers_err() {
        let message = "the tasks' customers are drawn, and there is only one";
        sound().with("[tasks]", "keys = { zipf = 1.1 }").is_err(message);
        sound().with("[tasks]", "keys = \"uniform\"").with("[data]", "customers = 1").is_err(message);
    }

    #[test]
    fn one_named_run_ok() {
        sound().with("[tasks]", "run = { named = \"nightly\" }").is_ok();
    }

    #[test]
    fn one_named_run_err() {
        let case = sound().with("[tasks]", "run = { named = \"nightly\" }").with("[data]", "customers = 2");
        case.is_err("a run belongs to one customer, and there are several");
    }

    #[test]
    fn fault_in_a_task_ok() {
        sound().with("[fault]", "task = 7").is_ok();
    }

    #[test]
    fn fault_in_a_task_err() {
        sound().with("[fault]", "task = 8").is_err("there is no task 8: they are numbered from 0");
    }

    #[test]
    fn bounded_claims_ok() {
        sound().with("[data]", "customers = 1_000").with("[data]", "claims-per-customer = 1_000").is_ok();
    }

    #[test]
    fn bounded_claims_err() {
        let case = sound().with("[data]", "customers = 1_000").with("[data]", "claims-per-customer = 1_001");
        case.is_err("1000 customers with 1001 claims each are more than 1000000 claims");
    }

    #[test]
    fn one_source_ok() {
        sound().with("[data]", "csv = \"claims.csv\"").is_ok();
    }

    #[test]
    fn one_source_err() {
        let case = sound().with("[data]", "csv = \"claims.csv\"").with("[data]", "claims-per-customer = 9");
        case.is_err("claims that come from a file are not generated");
    }
}
