def charge(invoice):
    print("charged", invoice)
